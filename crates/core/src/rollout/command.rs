//! What people ask for.

use super::{
    Cause, CauseKind, Command, Event, Outcome, PauseReason, Phase, Refusal, Request, RequestKind, step::Decision,
};
use crate::Release;

impl Decision<'_> {
    pub(super) fn command(&mut self, command: &Command) -> Result<(), Refusal> {
        if let Command::Request(request) = command {
            return self.request(request);
        }
        let Some(rollout) = &self.state.rollout else { return Err(Refusal::NoRollout) };
        let name = rollout.request.rollout.clone();
        if let Some((outcome, _)) = &rollout.ending {
            return Err(Refusal::Ending { rollout: name, outcome: *outcome });
        }
        if rollout.promoted {
            return Err(Refusal::Promoted { rollout: name });
        }
        match command {
            Command::Request(_) => {}
            Command::Pause { .. } if rollout.pause.is_some() => return Err(Refusal::PausedAlready { rollout: name }),
            Command::Pause { by } => self.push(Event::Paused { why: PauseReason::Person { by: by.clone() } }),
            Command::Resume { .. } if rollout.pause.is_none() => return Err(Refusal::NotPaused { rollout: name }),
            Command::Resume { by } => self.push(Event::Resumed { by: by.clone() }),
            Command::Promote { by } => {
                let why = match &rollout.phase {
                    Phase::Starting { .. } => Some("its instances are not healthy yet"),
                    _ if rollout.is_first() => Some("it is the service's first: it is promoted as soon as it serves"),
                    _ if rollout.is_last_step() && rollout.forced => Some("it is at its last step already"),
                    _ => None,
                };
                if let Some(why) = why {
                    return Err(Refusal::NothingToPromote { rollout: name, why });
                }
                // Its weight comes at the next look, once its instances are seen to be healthy.
                self.push(Event::PromoteRequested { by: by.clone() });
            }
            Command::Abort { by } => self.end(Cause::Person { by: by.clone() }),
        }
        Ok(())
    }

    pub(super) fn request(&mut self, request: &Request) -> Result<(), Refusal> {
        if request.kind == RequestKind::Remove {
            return self.removal(request);
        }
        let serves = |release: &Release| release.id == request.release.id;
        let Some(rollout) = &self.state.rollout else {
            if self.state.stable.as_ref().is_some_and(serves) {
                return Err(Refusal::AlreadyServing { release: request.release.id.clone() });
            }
            self.begin(request.clone());
            return Ok(());
        };
        if let Some(queued) = self.state.queued.as_ref().filter(|queued| serves(&queued.release)) {
            return Err(Refusal::AlreadyUnderWay { rollout: queued.rollout.clone() });
        }
        if rollout.ending.is_none() && self.state.queued.is_none() && serves(&rollout.request.release) {
            return Err(match rollout.promoted {
                true => Refusal::AlreadyServing { release: request.release.id.clone() },
                false => Refusal::AlreadyUnderWay { rollout: rollout.request.rollout.clone() },
            });
        }
        let baking = matches!(rollout.phase, Phase::Baking { .. });
        let back = request.kind == RequestKind::Rollback && rollout.from.as_ref().is_some_and(serves);
        if back && rollout.ending.is_none() && (baking || !rollout.promoted) {
            self.end(Cause::Rollback { by: request.by.clone() });
            return Ok(());
        }
        let forward = rollout.is_forward();
        if let Some(queued) = &self.state.queued {
            self.push(Event::RolloutDropped { rollout: queued.rollout.clone(), by: request.rollout.clone() });
        }
        self.push(Event::RolloutQueued { request: Box::new(request.clone()) });
        if forward {
            self.end(Cause::Superseded { by: request.rollout.clone() });
        } else if baking {
            self.push(Event::BakeEnded);
        }
        Ok(())
    }

    /// What serves is to serve no more. A bake ends for it; a trial has to be ended by a person first.
    pub(super) fn removal(&mut self, request: &Request) -> Result<(), Refusal> {
        let waiting = self.state.queued.as_ref().filter(|queued| queued.kind == RequestKind::Remove);
        if let Some(queued) = waiting {
            return Err(Refusal::AlreadyUnderWay { rollout: queued.rollout.clone() });
        }
        let Some(rollout) = &self.state.rollout else {
            if self.state.stable.is_none() {
                return Err(Refusal::NothingServes);
            }
            self.begin(request.clone());
            return Ok(());
        };
        let name = rollout.request.rollout.clone();
        if rollout.request.kind == RequestKind::Remove && self.state.queued.is_none() {
            return Err(Refusal::AlreadyUnderWay { rollout: name });
        }
        if rollout.is_forward() {
            return Err(Refusal::UnderWay { rollout: name });
        }
        let baking = matches!(rollout.phase, Phase::Baking { .. });
        if let Some(queued) = &self.state.queued {
            self.push(Event::RolloutDropped { rollout: queued.rollout.clone(), by: request.rollout.clone() });
        }
        self.push(Event::RolloutQueued { request: Box::new(request.clone()) });
        if baking {
            self.push(Event::BakeEnded);
        }
        Ok(())
    }

    pub(super) fn begin(&mut self, mut request: Request) {
        if request.kind == RequestKind::Remove {
            // What serves now, whatever served when it was asked.
            request.release = self.state.stable.clone().unwrap_or(request.release);
            return self.push(Event::RolloutRequested { request: Box::new(request) });
        }
        let release = request.release.id.clone();
        self.push(Event::RolloutRequested { request: Box::new(request) });
        let first = self.state.rollout.as_ref().map(|rollout| rollout.current().clone());
        let room = |stable| self.state.stable.as_ref().is_none_or(|old| old.replicas() <= stable);
        if let Some(step) = first.filter(|step| step.canary > 0 && room(step.stable)) {
            self.order(&release, step.canary, Vec::new());
        }
    }

    pub(super) fn begin_queued(&mut self, request: Request) {
        let serves = self.state.stable.as_ref().is_some_and(|stable| stable.id == request.release.id);
        if request.kind == RequestKind::Remove && self.state.stable.is_none() {
            let rollout = request.rollout.clone();
            self.push(Event::RolloutRequested { request: Box::new(request) });
            let (why, cause) = ("nothing serves any more".to_owned(), Some(CauseKind::Person));
            self.push(Event::RolloutFinished { rollout, outcome: Outcome::Removed, why, cause });
        } else if serves && request.kind != RequestKind::Remove {
            let rollout = request.rollout.clone();
            self.push(Event::RolloutRequested { request: Box::new(request) });
            let why = "the release serves already".to_owned();
            self.push(Event::RolloutFinished { rollout, outcome: Outcome::Promoted, why, cause: None });
        } else {
            self.begin(request);
        }
    }
}
