//! What a guard counts, in the order of admission, so that it can be weighed up to any of several cuts.
//!
//! The latest requests are kept in slices, each of which ends with a request of the canary. Slices grow with their age, so that a
//! few dozen reach back over many thousands of requests; what is older is counted by row alone. No clock is needed.

use std::collections::VecDeque;

use super::{Row, Side};

/// With so many slices neighbours are joined.
const MOST: usize = 128;
/// After that there are at most so many.
const KEPT: usize = 96;
/// Joined slices are at most this part of their age.
const FINENESS: u64 = 4;

/// A request under way.
#[derive(Clone, Copy, Debug)]
pub struct Seat {
    number: u64,
    row: usize,
    is_canary: bool,
    waits: bool,
}

impl Seat {
    /// Whether it is one of stable's that waits for its answer.
    #[must_use]
    pub const fn waits(&self) -> bool {
        self.waits
    }

    /// Whether it is the canary's.
    #[must_use]
    pub const fn is_canary(&self) -> bool {
        self.is_canary
    }
}

/// Counts of neighbours in the order of admission, all of one row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slice {
    /// The number of its first request.
    from: u64,
    /// That after its last one.
    until: u64,
    pub(super) row: usize,
    pub(super) canary: Side,
    pub(super) stable: Side,
    /// Of stable's requests those that wait for their answer.
    pub(super) waiting: u64,
}

/// All that one guard has counted.
#[derive(Clone, Debug, Default)]
pub struct Book {
    admitted: u64,
    /// What is older than every slice.
    rows: Vec<Row>,
    slices: VecDeque<Slice>,
}

impl Book {
    /// A request was drawn in an epoch with this weight, after this start.
    pub fn admit(&mut self, epoch: u64, weight: u16, start: u8, is_canary: bool) -> Seat {
        let number = self.admitted;
        self.admitted += 1;
        let last = self.slices.back().filter(|slice| {
            let row = &self.rows[slice.row];
            slice.canary.routed == 0 && row.weight == weight && row.start == start
        });
        if last.is_none() {
            let row = self.row(epoch, weight, start);
            if self.slices.len() >= MOST {
                self.thin();
            }
            let (canary, stable) = (Side::default(), Side::default());
            self.slices.push_back(Slice { from: number, until: number, row, canary, stable, waiting: 0 });
        }
        let mut seat = Seat { number, row: 0, is_canary, waits: !is_canary };
        if let Some(slice) = self.slices.back_mut() {
            slice.until = number + 1;
            seat.row = slice.row;
            let side = if is_canary { &mut slice.canary } else { &mut slice.stable };
            side.routed += 1;
            slice.waiting += u64::from(!is_canary);
        }
        seat
    }

    /// Its answer begins.
    pub fn answers(&mut self, seat: &mut Seat) {
        if std::mem::take(&mut seat.waits) {
            let (_, _, waiting) = self.at(seat);
            *waiting = waiting.saturating_sub(1);
        }
    }

    /// It is over.
    pub fn end(&mut self, mut seat: Seat, failed: bool) {
        self.answers(&mut seat);
        if failed {
            let (canary, stable, _) = self.at(&seat);
            let side = if seat.is_canary { canary } else { stable };
            side.failed += 1;
        }
    }

    /// What was counted at a weight since a start: where requests of it go when they are old.
    fn row(&mut self, epoch: u64, weight: u16, start: u8) -> usize {
        if let Some(known) = self.rows.iter().rposition(|row| row.weight == weight && row.start == start) {
            return known;
        }
        // Epochs of one weight are counted together.
        let epoch = self.rows.iter().find(|row| row.weight == weight).map_or(epoch, |row| row.epoch);
        let (canary, stable) = (Side::default(), Side::default());
        self.rows.push(Row { epoch, weight, start, canary, stable, waiting: 0 });
        self.rows.len() - 1
    }

    fn at(&mut self, seat: &Seat) -> (&mut Side, &mut Side, &mut u64) {
        match self.slices.partition_point(|slice| slice.from <= seat.number).checked_sub(1) {
            Some(at) => {
                let slice = &mut self.slices[at];
                (&mut slice.canary, &mut slice.stable, &mut slice.waiting)
            }
            None => {
                let row = &mut self.rows[seat.row];
                (&mut row.canary, &mut row.stable, &mut row.waiting)
            }
        }
    }

    fn thin(&mut self) {
        let mut kept: VecDeque<Slice> = VecDeque::with_capacity(MOST);
        for slice in self.slices.drain(..) {
            match kept.back_mut() {
                Some(last)
                    if last.row == slice.row && (slice.until - last.from) * FINENESS <= self.admitted - last.from =>
                {
                    last.until = slice.until;
                    last.canary = last.canary.plus(slice.canary);
                    last.stable = last.stable.plus(slice.stable);
                    last.waiting += slice.waiting;
                }
                _ => kept.push_back(slice),
            }
        }
        while kept.len() > KEPT {
            if let Some(slice) = kept.pop_front() {
                self.rows[slice.row].add(&slice);
            }
        }
        self.slices = kept;
    }

    pub(super) fn slices(&self) -> &VecDeque<Slice> {
        &self.slices
    }

    pub(super) fn weight(&self, slice: &Slice) -> u16 {
        self.rows[slice.row].weight
    }

    /// The counts up to the end of the first so many slices; all with every slice.
    pub(super) fn up_to(&self, slices: usize) -> Vec<Row> {
        let mut rows = self.rows.clone();
        for slice in self.slices.iter().take(slices) {
            rows[slice.row].add(slice);
        }
        rows.retain(|row| row.canary.routed + row.stable.routed > 0);
        rows
    }

    /// All counts.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        self.up_to(usize::MAX)
    }

    /// What is known of stable's requests that have been answered.
    #[must_use]
    pub fn past(&self) -> Side {
        self.rows().iter().fold(Side::default(), |sum, row| {
            let routed = row.stable.routed.saturating_sub(row.waiting);
            sum.plus(Side { routed, failed: row.stable.failed.min(routed) })
        })
    }
}

impl Row {
    fn add(&mut self, slice: &Slice) {
        self.canary = self.canary.plus(slice.canary);
        self.stable = self.stable.plus(slice.stable);
        self.waiting += slice.waiting;
    }
}
