//! Which server works, of several on one database: the one that holds the lease. It runs by the database's clock, and every
//! write is checked against its token, so that one that was taken for dead writes nothing any more. A file of SQLite has one
//! server only, which holds its folder.

use super::{
    journal::Writer,
    place::Place,
    sql::{Connection, Pool, sql},
    write::{Failure, Turn},
};
use davy_core::Timestamp;
use davy_ports::JournalError;
use std::time::Duration;
use tokio::time::Instant;

/// How long a lease holds, in the words of SQL, from its last renewal.
const TERM: &str = "UPDATE lease SET until = clock_timestamp() + interval '3 seconds' WHERE token = $1";
/// The longest wait for a renewal: beyond it another may have the lease.
const RENEWAL: Duration = Duration::from_secs(2);

/// A server that would work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bidder {
    /// How the others reach it; what it says is theirs to read.
    pub reach: String,
    /// The name of the folder with what its services are: who works somewhere else knows nothing of them.
    pub folder: String,
    /// Whether it has just been started: then it works also where all were told to stop before.
    pub starts: bool,
    /// The token of one that is known to have ended: its lease is not waited for.
    pub ended: Option<i64>,
}

/// What became of a bid.
pub enum Bid {
    /// It works from now on.
    Won(Lease),
    /// Another one works, which is reached like this.
    Waits(String),
    /// All servers were told to stop.
    Stopped,
    /// What the journal tells of is in another folder, of this name.
    Elsewhere(String),
}

/// The right to work.
pub struct Lease {
    place: Place,
    token: i64,
    connection: Option<Connection>,
    since: Option<(Timestamp, Instant)>,
}

/// What the row says.
struct Standing {
    token: i64,
    holds: bool,
    reach: String,
    folder: String,
    stopped: bool,
    now: (Timestamp, Instant),
}

const STANDING: &str = "SELECT token, until > clock_timestamp(), reach, folder, stopped, \
     (extract(epoch FROM clock_timestamp()) * 1000)::bigint FROM lease";

impl Standing {
    /// What a bid comes to; none when it can be won.
    fn answer(&self, bidder: &Bidder) -> Option<Bid> {
        if !self.folder.is_empty() && self.folder != bidder.folder {
            return Some(Bid::Elsewhere(self.folder.clone()));
        }
        if self.stopped {
            return (!bidder.starts).then_some(Bid::Stopped);
        }
        (self.holds && bidder.ended != Some(self.token)).then(|| Bid::Waits(self.reach.clone()))
    }
}

/// Takes the lease if it is free. A look comes first, so that who waits holds up nobody who writes.
pub(super) async fn bid(writer: Writer, readers: Pool, place: Place, bidder: Bidder) -> Result<Bid, JournalError> {
    if matches!(place, Place::File(_)) {
        return Ok(Bid::Won(Lease { place, token: 0, connection: None, since: None }));
    }
    let tried = "take the lease";
    let row = sql(STANDING).fetch_one(&readers).await.and_then(|row| standing(&row));
    if let Some(answer) = row.map_err(|error| place.explain(tried, &error))?.answer(&bidder) {
        return Ok(answer);
    }
    let mut turn = Turn::begin(writer.clone(), place.clone(), tried).await?;
    let taken = take(&mut turn.connection, &bidder).await;
    match turn.end(taken).await? {
        Err(answer) => Ok(answer),
        Ok((token, since)) => {
            writer.lock().await.token = Some(token);
            Ok(Bid::Won(Lease { place, token, connection: None, since: Some(since) }))
        }
    }
}

/// Inside a transaction that has the writers' lock: whoever had the lease before writes nothing after it.
async fn take(
    connection: &mut Connection,
    bidder: &Bidder,
) -> Result<Result<(i64, (Timestamp, Instant)), Bid>, Failure> {
    let standing = standing(&sql(STANDING).fetch_one(&mut *connection).await?)?;
    if let Some(answer) = standing.answer(bidder) {
        return Ok(Err(answer));
    }
    let token = sql("UPDATE journal SET token = token + 1 RETURNING token").fetch_one(&mut *connection).await?;
    let token = token.try_get::<i64>(0)?;
    sql("UPDATE lease SET token = $1, reach = $2, folder = $3, stopped = false")
        .bind(token)
        .bind(bidder.reach.as_str())
        .bind(bidder.folder.as_str())
        .execute(&mut *connection)
        .await?;
    sql(TERM).bind(token).execute(&mut *connection).await?;
    Ok(Ok((token, standing.now)))
}

fn standing(row: &super::sql::Row) -> Result<Standing, sqlx::Error> {
    Ok(Standing {
        token: row.try_get(0)?,
        holds: row.try_get(1)?,
        reach: row.try_get(2)?,
        folder: row.try_get(3)?,
        stopped: row.try_get(4)?,
        now: (Timestamp(row.try_get::<i64>(5)?.cast_unsigned()), Instant::now()),
    })
}

impl Lease {
    /// Which it is: each that is taken has a higher one. 0 for a file, which needs none.
    #[must_use]
    pub const fn token(&self) -> i64 {
        self.token
    }

    /// When it began, by the clock of the database's server, and when that was heard; none for a file.
    #[must_use]
    pub const fn since(&self) -> Option<(Timestamp, Instant)> {
        self.since
    }

    /// Holds it for another three seconds; whether it is still ours. On a connection of its own: no write holds it up.
    ///
    /// # Errors
    /// When the database cannot be asked: then it may be ours or not.
    pub async fn renew(&mut self) -> Result<bool, JournalError> {
        self.change(TERM).await
    }

    /// Gives it up, so that another one begins at once; or, with `stop`, so that all others stop as well.
    ///
    /// # Errors
    /// When the database cannot be asked: then it runs out.
    pub async fn release(mut self, stop: bool) -> Result<(), JournalError> {
        let text = match stop {
            true => "UPDATE lease SET until = '-infinity', stopped = true WHERE token = $1",
            false => "UPDATE lease SET until = '-infinity' WHERE token = $1",
        };
        self.change(text).await.map(drop)
    }

    async fn change(&mut self, text: &'static str) -> Result<bool, JournalError> {
        if matches!(self.place, Place::File(_)) {
            return Ok(true);
        }
        let (place, token, kept) = (self.place.clone(), self.token, self.connection.take());
        let changing = async {
            let mut connection = match kept {
                Some(connection) => connection,
                None => place.writing().await?,
            };
            let changed = sql(text).bind(token).execute(&mut connection).await?;
            // A database that came back older knows nothing of this lease: then it is nobody else's, and what is written
            // to it says what is wrong.
            let last = sql("SELECT token FROM lease").fetch_one(&mut connection).await?.try_get::<i64>(0)?;
            Ok((connection, changed == 1 || last < token))
        };
        let changed = tokio::time::timeout(RENEWAL, changing).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        let (connection, ours) = changed.map_err(|error| self.place.explain("hold the lease", &error))?;
        self.connection = Some(connection);
        Ok(ours)
    }
}
