//! Marks of what was told: the only rows that are written over, since they are no record of what happened.

use super::{
    journal::Writer,
    place::Place,
    sql::{Connection, Pool, sql},
    write::{Failure, Turn},
};
use davy_core::{EnvironmentName, ServiceKey, ServiceName};
use davy_ports::{JournalError, Lane, Mark};

pub(super) async fn marks(pool: &Pool, place: &Place) -> Result<Vec<Mark>, JournalError> {
    let failed = |error: sqlx::Error| place.explain("read what was told", &error);
    let rows = sql("SELECT environment, service, channel, sequence FROM told").fetch_all(pool).await.map_err(failed)?;
    let damaged = |error: davy_core::InvalidName| JournalError::Damaged { why: format!("what was told: {error}") };
    let mut marks = Vec::with_capacity(rows.len());
    for row in &rows {
        let (environment, service): (&str, &str) = (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
        let channel: &str = row.try_get(2).map_err(failed)?;
        let lane = match channel {
            "" => None,
            channel => {
                let environment = EnvironmentName::new(environment).map_err(damaged)?;
                let service = ServiceName::new(service).map_err(damaged)?;
                Some(Lane { key: ServiceKey { service, environment }, channel: channel.to_owned() })
            }
        };
        marks.push(Mark { lane, sequence: row.try_get::<i64>(3).map_err(failed)?.cast_unsigned() });
    }
    Ok(marks)
}

pub(super) async fn mark(writer: Writer, place: Place, mark: Mark) -> Result<(), JournalError> {
    let mut turn = Turn::begin(writer, place, "write down what was told").await?;
    let result = mark_in(&mut turn.connection, &mark).await;
    turn.end(result).await
}

async fn mark_in(connection: &mut Connection, mark: &Mark) -> Result<(), Failure> {
    let (environment, service, channel) = match &mark.lane {
        None => ("", "", ""),
        Some(Lane { key, channel }) => (key.environment.as_str(), key.service.as_str(), channel.as_str()),
    };
    let sequence = mark.sequence.cast_signed();
    if mark.lane.is_none() {
        sql("DELETE FROM told WHERE sequence <= $1").bind(sequence).execute(&mut *connection).await?;
    }
    sql("INSERT INTO told (environment, service, channel, sequence) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (environment, service, channel) DO UPDATE SET sequence = excluded.sequence")
    .bind(environment)
    .bind(service)
    .bind(channel)
    .bind(sequence)
    .execute(&mut *connection)
    .await?;
    Ok(())
}
