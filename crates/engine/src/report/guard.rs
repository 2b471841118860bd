//! What the gateway's guard found: its counts, as whoever doubts it computes with them.

use super::format::{count, odds, share, time};
use davy_core::{
    Weight,
    rollout::{Cause, Event},
};
use davy_ports::Record;
use std::fmt::Write as _;

/// The guard's counts, if it cut the canary off.
pub(super) fn guard(page: &mut String, own: &[Record]) -> std::fmt::Result {
    let found = own.iter().find_map(|record| match &record.entry.event {
        Event::Reverted { cause: Some(Cause::Guard { cut, recomputed, .. }), .. } => Some((cut, *recomputed)),
        _ => None,
    });
    let Some((cut, recomputed)) = found else { return Ok(()) };
    let finding = &cut.finding;
    writeln!(page, "## The guard\n")?;
    let (run, at) = (finding.run, time(cut.at));
    let (evidence, needed) = (odds(finding.ln_e), odds(finding.ln_needed));
    writeln!(
        page,
        "At {at} the gateway sent all requests to stable by itself: evidence of harm {evidence}, cuts off at {needed} (run {run} of \
         its guard). Its counts by weight, epoch and start; what waits on stable is weighed as failed:\n"
    )?;
    writeln!(page, "| weight | epoch | start | new release failed | stable failed | stable waits |")?;
    writeln!(page, "|---|---|---|---|---|---|")?;
    for row in &finding.rows {
        let weight = Weight::new(row.weight).map_or_else(|error| error.to_string(), |weight| weight.to_string());
        let [canary, stable] = [row.canary, row.stable].map(|side| share(side.failed, side.routed));
        writeln!(page, "| {weight} | {} | {} | {canary} | {stable} | {} |", row.epoch, row.start, count(row.waiting))?;
    }
    if let Some(past) = finding.past {
        let past = share(past.failed, past.routed);
        writeln!(
            page,
            "\nBefore, stable had failed {past}: above 75 % the new release was held to a limit from that."
        )?;
    }
    match recomputed {
        true => writeln!(page, "\nComputed again from these counts, the evidence is the same, bit for bit.\n"),
        false => writeln!(
            page,
            "\n**Computed again from these counts, the evidence is another.** Traffic is back to be safe.\n"
        ),
    }
}
