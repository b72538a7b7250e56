//! Two windows side by side: how far one cumulative distribution leads the other.

use super::Numeric;
use std::cmp::Ordering;

/// Goes over the distinct values of both windows, ascending. `take` gets each with the lead of
/// the first window at it, in parts of the product of both counts: a whole number.
pub(super) fn walk(a: &Numeric, b: &Numeric, mut take: impl FnMut(f64, i64)) {
    let (mut left, mut right) = (a.points().iter().peekable(), b.points().iter().peekable());
    let (of_a, of_b) = (b.count() as i64, a.count() as i64);
    let mut lead = 0;
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((x, _)), Some((y, _))) => x.total_cmp(y),
        };
        let mut value = 0.0;
        if order.is_le()
            && let Some((x, count)) = left.next()
        {
            value = *x;
            lead += *count as i64 * of_a;
        }
        if order.is_ge()
            && let Some((y, count)) = right.next()
        {
            value = *y;
            lead -= *count as i64 * of_b;
        }
        take(value, lead);
    }
}

/// The earth mover's distance: the area between both cumulative distributions.
///
/// Equals `scipy.stats.wasserstein_distance`.
#[must_use]
pub fn wasserstein(a: &Numeric, b: &Numeric) -> f64 {
    let (mut area, mut last) = (0.0, None);
    walk(a, b, |value, lead: i64| {
        if let Some((before, height)) = last {
            area += (value - before) * height;
        }
        last = Some((value, lead.unsigned_abs() as f64));
    });
    area / (a.count() as f64 * b.count() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_of_a_window_moved_by_two_is_two() {
        let a = Numeric::of(&[0.0, 1.0, 3.0]).unwrap();
        let b = Numeric::of(&[5.0, 2.0, 3.0]).unwrap();
        assert_eq!(wasserstein(&a, &b), 2.0);
        assert_eq!(wasserstein(&a, &a), 0.0);
    }
}
