//! Bytes as a row of choices; when they are used up, every choice is the first.

/// Numbers at which something may go wrong.
const EDGES: [u64; 16] = [
    0,
    1,
    2,
    9_999,
    10_000,
    10_001,
    u16::MAX as u64,
    u32::MAX as u64,
    u32::MAX as u64 + 1,
    davy_core::ABSURD,
    davy_core::ABSURD + 1,
    i64::MAX as u64,
    i64::MAX as u64 + 1,
    u64::MAX / 1_000,
    u64::MAX - 1,
    u64::MAX,
];

pub(crate) struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub(crate) const fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((byte, rest)) => {
                self.0 = rest;
                *byte
            }
            None => 0,
        }
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Once in `count` times.
    pub(crate) fn seldom(&mut self, count: u8) -> bool {
        self.byte().is_multiple_of(count)
    }

    /// A number below `count`, which is not 0.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        let byte = usize::from(self.byte());
        let chosen = if count > 256 { byte << 8 | usize::from(self.byte()) } else { byte };
        chosen % count
    }

    pub(crate) fn one<'b, T>(&mut self, of: &'b [T]) -> &'b T {
        &of[self.below(of.len())]
    }

    fn wide(&mut self, bytes: usize) -> u64 {
        (0..bytes).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }

    /// Any number: mostly a small one, or one at an edge.
    pub(crate) fn number(&mut self) -> u64 {
        match self.byte() % 8 {
            0..=2 => self.wide(1),
            3 | 4 => self.wide(2),
            5 => self.wide(4),
            6 => self.wide(8),
            _ => *self.one(&EDGES),
        }
    }

    /// Any number with a point: mostly a fraction, or one at an edge.
    pub(crate) fn fraction(&mut self) -> f64 {
        const EDGES: [f64; 14] = [
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.5,
            1e-9,
            1.0 - 1e-9,
            f64::MIN_POSITIVE,
            5e-324,
            f64::MAX,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
            1e6,
        ];
        match self.byte() % 4 {
            0 | 1 => self.wide(2) as f64 / 65_536.0,
            2 => self.number() as f64 / 256.0,
            _ => *self.one(&EDGES),
        }
    }
}
