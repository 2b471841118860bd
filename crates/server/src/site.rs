//! What is served outside of the API.

use crate::problem::Problem;
use axum::http::StatusCode;

/// Whether an address is the API's.
pub(crate) fn is_api(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/")
}

pub(crate) async fn serve() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "A003", "there is nothing at this address")
}
