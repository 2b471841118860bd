//! A canary that its guard has cut off: served no more, told, kept on disk.

use crate::{
    disk::Writing,
    guard::{Guard, Watch},
    held::{Held, Holder},
};
use davy_core::{Cut, FallbackCause, Mode, Role, ServiceKey, Snapshot, Target, Weight};
use std::sync::Arc;
use tokio::sync::Notify;

impl Holder {
    /// Serves the fallback where a guard has found something; whether one has.
    pub(crate) fn hear(&mut self) -> bool {
        let mut cut = Vec::new();
        for (key, held) in &mut self.services {
            let Some(guard) = held.guard.as_ref() else { continue };
            guard.reach();
            let may = held.mode == Mode::Split && held.snapshot.fallback.is_some() && !self.follows;
            let Some((at, finding)) = guard.found().filter(|_| may) else { continue };
            tracing::warn!(%key, "{}", finding.because());
            let (rollout, release, finding) = (guard.rollout.clone(), guard.release.clone(), finding.clone());
            held.mode = Mode::Fallback { cause: FallbackCause::Guard, at: *at };
            held.cut = Some(Cut { rollout, release, at: *at, finding });
            cut.push(held.snapshot.clone());
        }
        let any = !cut.is_empty();
        for snapshot in cut {
            let key = snapshot.key.clone();
            let writing = self.writing(snapshot, false);
            if let Some(held) = self.services.get_mut(&key) {
                // What was asked before it is not served any more.
                held.ticket = writing.ticket;
            }
            self.unwritten.push(writing);
        }
        any
    }

    /// What the disk is to be told, once; nothing any more once another process tells it.
    pub(crate) fn unwritten(&mut self) -> Vec<Writing> {
        let unwritten = std::mem::take(&mut self.unwritten);
        if self.follows { Vec::new() } else { unwritten }
    }

    /// The disk is told what a process before this one may not have told it.
    pub(crate) fn rewrite(&mut self, key: &ServiceKey) {
        let Some(held) = self.services.get(key) else { return };
        let reverted = matches!(held.mode, Mode::Fallback { cause: FallbackCause::Revert, .. });
        let writing = self.writing(held.snapshot.clone(), reverted);
        self.unwritten.push(writing);
    }
}

impl Held {
    /// What watches the canary at a weight; begins the guard with the first order of a rollout.
    pub(crate) fn watch(&mut self, weight: Weight, alarm: &Arc<Notify>, follows: bool) -> Option<Watch> {
        let order = self.snapshot.guard.as_ref()?;
        if self.guard.is_none() && self.cut.is_none() && !follows {
            let canary = self.snapshot.serve.iter().find(|target| target.role == Role::Canary)?;
            let (rollout, release) = (self.snapshot.rollout.clone()?, canary.release.clone());
            // What cannot be kept was refused when the snapshot came.
            self.guard = Guard::begin(order, self.runs, rollout, release, alarm.clone()).ok();
        }
        Some(self.guard.as_ref()?.watch(self.snapshot.generation.0, weight.basis_points()))
    }
}

/// Whether a snapshot gives requests of its rollout to the release that a guard has cut off in it.
pub(crate) fn is_given(snapshot: &Snapshot, cut: &Cut) -> bool {
    let aside = !snapshot.matches.is_empty() || snapshot.mirror.is_some();
    let given = |target: &Target| {
        let any = target.weight > Weight::NONE || (aside && target.role == Role::Canary);
        target.release == cut.release && any
    };
    snapshot.rollout.as_ref() == Some(&cut.rollout) && snapshot.serve.iter().any(given)
}
