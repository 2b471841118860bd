//! The journal checked: every chain and every signature computed again.

use crate::{
    Shared,
    openapi::{Malformed, Unfit, Unread},
    patience,
    problem::{Problem, inside},
    take::Perhaps,
    wire,
};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use davy_engine::{EngineError, store::Head};
use tokio::sync::{Semaphore, SemaphorePermit};

/// One check reads everything there is: two would only be in each other's way.
static TURN: Semaphore = Semaphore::const_new(1);
/// So many saved heads are compared.
const HEADS: usize = 10_000;

/// Computes every chain and every signature again, and compares saved heads with them. With `accept: application/x-ndjson` an answer
/// that takes long comes in lines, as that of a deployment does.
#[utoipa::path(post, path = "/api/audit/verify", operation_id = "verifyJournal", tag = "server", request_body = Option<wire::Verify>,
    responses((status = 200, description = "What was found: all holds where nothing is broken.",
            content((wire::Verified = "application/json"), (wire::Line = "application/x-ndjson"))),
        Malformed, Unfit, Unread))]
pub(crate) async fn verify(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Perhaps(wire::Verify { heads }): Perhaps<wire::Verify>,
) -> Result<Response, Problem> {
    let wrong = |why: String| Problem::new(StatusCode::BAD_REQUEST, "A045", why).hint("`davy audit head` prints heads");
    if heads.len() > HEADS {
        return Err(wrong(format!("{} heads are more than {HEADS}", heads.len())));
    }
    let read = |(index, line): (usize, &String)| {
        Head::parse(line.trim()).ok_or_else(|| wrong(format!("the {}. of `heads` is none", index + 1)))
    };
    let heads = heads.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
    let turn = turn(&TURN)?;
    let (journal, signer) = shared.journal;
    let mut trust = signer.trust().map_err(|error| inside(&error))?;
    trust.heads = heads;
    let work = async move {
        let _turn = turn;
        let saved = trust.heads.len();
        let found = journal.verify_apart(trust).await.map_err(EngineError::Journal)?;
        Ok(wire::Verified::of(found, saved))
    };
    Ok(patience::answer(&headers, || Some("every chain is computed again".to_owned()), work).await)
}

fn turn(turns: &Semaphore) -> Result<SemaphorePermit<'_>, Problem> {
    turns.try_acquire().map_err(|_| {
        let why = "the journal is being checked already, and one check is done at a time";
        Problem::new(StatusCode::CONFLICT, "A044", why).hint("ask again when it is over")
    })
}

#[cfg(test)]
mod tests {
    use super::turn;
    use tokio::sync::Semaphore;

    #[test]
    fn one_check_is_done_at_a_time() {
        let turns = Semaphore::new(1);
        let first = turn(&turns).expect("nobody else");
        let refused = turn(&turns).expect_err("one at a time").body();
        assert_eq!((refused.status, refused.code.as_str()), (409, "A044"));
        drop(first);
        assert!(turn(&turns).is_ok());
    }
}
