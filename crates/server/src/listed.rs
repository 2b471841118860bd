//! Lists in pages: so many of it, where the next page is, and up to which event of the journal it tells.

use crate::{
    problem::Problem,
    take::{Query, wrong},
};
use axum::{
    body::Body,
    extract::FromRequestParts,
    http::{HeaderValue, Uri, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use utoipa::IntoParams;

/// So many come where nothing is said, and so many at most.
const USUAL: usize = 100;
const MOST: usize = 1_000;

/// Which page of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Asked {
    /// How many at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// Where it goes on: as the `link` header of the page before says.
    cursor: Option<String>,
}

/// Which page is asked for, and under which address.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) limit: usize,
    pub(crate) cursor: Option<String>,
    uri: Uri,
}

impl<S: Send + Sync> FromRequestParts<S> for Page {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(Asked { limit, cursor }) = Query::from_request_parts(parts, state).await?;
        let limit = limit.unwrap_or(USUAL);
        if !(1..=MOST).contains(&limit) {
            return Err(wrong("limit", format!("{limit} is not 1 to {MOST}")));
        }
        Ok(Self { limit, cursor, uri: parts.uri.clone() })
    }
}

impl Page {
    /// One page of what is in order and begins after the cursor; `name` is the cursor behind which an item stands.
    pub(crate) fn of<T>(
        &self,
        items: impl IntoIterator<Item = T>,
        name: impl Fn(&T) -> String,
    ) -> (Vec<T>, Option<String>) {
        let mut page: Vec<T> = items.into_iter().take(self.limit + 1).collect();
        let is_more = page.len() > self.limit;
        page.truncate(self.limit);
        let next = page.last().filter(|_| is_more).map(name);
        (page, next)
    }

    /// Whether an item comes after the cursor, in a list that rises with these names.
    pub(crate) fn is_after(&self, name: &str) -> bool {
        self.cursor.as_deref().is_none_or(|cursor| name > cursor)
    }

    /// A page of JSON that was written before.
    pub(crate) fn written(&self, body: Vec<u8>, next: Option<&str>, sequence: u64) -> Response {
        let mut response = Response::new(Body::from(body));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("davy-sequence", sequence.into());
        let link = next.map(|next| format!("<{}>; rel=\"next\"", self.address(next)));
        if let Some(Ok(link)) = link.map(HeaderValue::try_from) {
            headers.insert(header::LINK, link);
        }
        response
    }

    /// A page of a list that rises with the names of its items.
    pub(crate) fn rising<T: Serialize>(
        &self,
        items: Vec<T>,
        name: impl Fn(&T) -> String,
        sequence: u64,
    ) -> Result<Response, Problem> {
        let (page, next) = self.of(items.into_iter().filter(|item| self.is_after(&name(item))), &name);
        Ok(self.tell(&page, next.as_deref(), sequence))
    }

    /// A page of some items.
    pub(crate) fn tell<T: Serialize>(&self, items: &[T], next: Option<&str>, sequence: u64) -> Response {
        match serde_json::to_vec(items) {
            Ok(body) => self.written(body, next, sequence),
            Err(error) => crate::problem::inside(&error).into_response(),
        }
    }

    /// The address of the page after a cursor.
    fn address(&self, next: &str) -> String {
        let kept = self.uri.query().unwrap_or_default().split('&');
        let mut address = format!("{}?", self.uri.path());
        for pair in kept.filter(|pair| !pair.is_empty() && !pair.starts_with("cursor=")) {
            address.push_str(pair);
            address.push('&');
        }
        address.push_str("cursor=");
        for byte in next.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => address.push(byte.into()),
                // Writing into a string cannot fail.
                _ => drop(write!(address, "%{byte:02X}")),
            }
        }
        address
    }
}
