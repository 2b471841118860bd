//! A seeded fleet: instances of both versions, each with a rate of its own, and failures that may come in bursts.

use davy_judge::{Counts, Details, Instance, Judge, Policy, Verdict, Window};

use crate::world::Random;

/// How one kind of rollout goes.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    pub(crate) policy: Policy,
    /// Requests per second of both versions together.
    pub(crate) traffic: u64,
    /// The configured weight in basis points.
    pub(crate) weight: u16,
    /// The share that the canary is really given.
    pub(crate) given: f64,
    /// Failures per request of each instance of the canary.
    pub(crate) canary: Vec<f64>,
    /// The same of stable.
    pub(crate) stable: Vec<f64>,
    /// How many instances of stable have bursts too, how many seconds apart and how long on the average, each on its own.
    /// While one lasts, an instance fails half of its requests.
    pub(crate) bursts: Option<(f64, f64)>,
    pub(crate) seconds: u64,
}

impl Fleet {
    /// 100 requests/s, 10 %, three instances of the canary and nine of stable that fail 0.1 %, five minutes.
    pub(crate) fn reference() -> Self {
        Self {
            policy: Policy::default(),
            traffic: 100,
            weight: 1_000,
            given: 0.1,
            canary: vec![0.001; 3],
            stable: vec![0.001; 9],
            bursts: None,
            seconds: 300,
        }
    }

    /// The last verdict, and whether there was ever one that a controller without doubts would have promoted by.
    pub(crate) fn run(&self, seed: u64) -> (Verdict, bool) {
        let mut random = Random(seed);
        let mut judge = Judge::new(self.policy).expect("a valid policy");
        let all = self.canary.len() + self.stable.len();
        let mut bursting = vec![false; all];
        let mut instances = Vec::with_capacity(all);
        let mut proven = false;
        for second in 0..self.seconds {
            instances.clear();
            let n_c = random.binomial(self.traffic, self.given);
            let (mut canary, mut stable) = (Counts::default(), Counts::default());
            for (index, rate) in self.canary.iter().chain(&self.stable).enumerate() {
                let on_canary = index < self.canary.len();
                let (requests, hosts, place) = match on_canary {
                    true => (n_c, self.canary.len() as u64, index as u64),
                    false => (self.traffic - n_c, self.stable.len() as u64, (index - self.canary.len()) as u64),
                };
                // In turns, so that nobody is short for long.
                let turn = (place + second) % hosts;
                let n = requests / hosts + u64::from(turn < requests % hosts);
                if let Some((apart, long)) = self.bursts {
                    let change = if bursting[index] { 1.0 / long } else { 1.0 / apart };
                    bursting[index] ^= random.binomial(1, change) == 1;
                }
                let rate = if bursting[index] { 0.5 } else { *rate };
                let counts = Counts::answered(n, random.binomial(n, rate));
                let sum = if on_canary { &mut canary } else { &mut stable };
                *sum = sum.plus(counts);
                instances.push(Instance { id: 1_000 + index as u64, canary: on_canary, counts });
            }
            let (from_ms, to_ms) = (second * 1_000, (second + 1) * 1_000);
            let window = Window { epoch: 1, weight: self.weight, from_ms, to_ms, canary, stable };
            judge.observe_with(&window, &Details { instances: &instances, ..Details::default() });
            let evidence = judge.verdict().evidence;
            proven |= !evidence.amber && evidence.promotion.is_some_and(|promotion| promotion.proven);
        }
        (judge.verdict(), proven)
    }
}
