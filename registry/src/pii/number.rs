//! Numbers in groups: payment cards, social security numbers, telephones.

use super::{report::Kind, scan::Seen};

/// Digits that are looked at, one more than a card has at most.
const DIGITS_MAX: usize = 20;
/// Separators that are looked at.
const GAPS_MAX: usize = 24;
/// Digits of a telephone number at least, all within the first bytes.
const DIGITS_MIN: usize = 8;
const NEAR: usize = 24;

/// Digits with what separates them.
struct Grouped {
    digits: [u8; DIGITS_MAX],
    /// Past each digit.
    ends: [usize; DIGITS_MAX],
    count: usize,
    /// Digits before each separator, and the separator.
    gaps: [(usize, u8); GAPS_MAX],
    gap_count: usize,
}

/// Looks at the digit at `at`.
pub(super) fn at(text: &[u8], at: usize) -> Option<Seen> {
    let before = at.checked_sub(1).map(|place| text[place]);
    let within = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let second = |place: usize| text[place].is_ascii_alphanumeric();
    let goes_on = before.is_some_and(|byte| b"-./".contains(&byte)) && at > 1 && second(at - 2);
    let near = text[at..].iter().take(NEAR).filter(|byte| byte.is_ascii_digit()).count();
    if within || goes_on || near < DIGITS_MIN {
        return None;
    }
    let number = grouped(text, at);
    let international = before == Some(b'+');
    let seen = |kind, (from, to)| Seen { kind, from, to };
    if international {
        return phone(&number, text, at).map(|to| seen(Kind::Phone, (at - 1, to)));
    }
    let opened = before == Some(b'(') && number.gaps(4).first() == Some(&(3, b')'));
    card(&number, text)
        .map(|to| seen(Kind::PaymentCard, (at, to)))
        .or_else(|| social(&number, text).map(|to| seen(Kind::UsSsn, (at, to))))
        .or_else(|| {
            let from = if opened { at - 1 } else { at };
            american(&number, text, opened).map(|to| seen(Kind::Phone, (from, to)))
        })
}

fn grouped(text: &[u8], at: usize) -> Grouped {
    let (digits, ends) = ([0; DIGITS_MAX], [0; DIGITS_MAX]);
    let mut number = Grouped { digits, ends, count: 0, gaps: [(0, 0); GAPS_MAX], gap_count: 0 };
    for (place, byte) in text.iter().enumerate().skip(at) {
        if byte.is_ascii_digit() && number.count < DIGITS_MAX {
            number.digits[number.count] = byte - b'0';
            number.ends[number.count] = place + 1;
            number.count += 1;
        } else if b" -.()".contains(byte) && number.gap_count < GAPS_MAX {
            number.gaps[number.gap_count] = (number.count, *byte);
            number.gap_count += 1;
        } else {
            break;
        }
    }
    number
}

impl Grouped {
    fn digits(&self) -> &[u8] {
        &self.digits[..self.count]
    }

    /// The separators between the first `digits`.
    fn gaps(&self, digits: usize) -> &[(usize, u8)] {
        let all = &self.gaps[..self.gap_count];
        &all[..all.partition_point(|(before, _)| *before < digits)]
    }

    /// Whether exactly these separators stand after the first `digits`.
    fn gap_is(&self, digits: usize, wanted: &[u8]) -> bool {
        let here = self.gaps(digits + 1).iter().filter(|(before, _)| *before == digits);
        here.map(|(_, gap)| *gap).eq(wanted.iter().copied())
    }

    /// Whether one separator stands after the first `digits`.
    fn gap_is_single(&self, digits: usize) -> bool {
        [b"-", b".", b" "].iter().any(|gap| self.gap_is(digits, *gap))
    }

    /// Past the first `digits`, if a word ends there.
    fn end(&self, digits: usize, text: &[u8]) -> Option<usize> {
        let to = *self.ends[..self.count].get(digits.checked_sub(1)?)?;
        let after = |place: usize| text.get(place).copied().unwrap_or(b' ');
        let joined = after(to).is_ascii_alphanumeric() || b"_@".contains(&after(to));
        let goes_on = b"-./".contains(&after(to)) && after(to + 1).is_ascii_digit();
        (!joined && !goes_on).then_some(to)
    }
}

/// 13 to 19 digits, in one group or in those of its issuer, of a known issuer, with the check
/// digit of Luhn.
fn card(number: &Grouped, text: &[u8]) -> Option<usize> {
    let digits = number.digits();
    let prefix = digits.get(..4)?.iter().fold(0, |sum, digit| sum * 10 + u32::from(*digit));
    let lengths: &[usize] = match prefix {
        4000..=4999 => &[16, 19, 13],
        5100..=5599 | 2221..=2720 => &[16],
        3400..=3499 | 3700..=3799 => &[15],
        3000..=3059 | 3600..=3699 | 3800..=3999 => &[14, 16],
        3528..=3589 | 6011 | 6221..=6229 | 6440..=6599 | 6200..=6220 => &[16, 19],
        5018 | 5020 | 5038 | 6304 | 6759 | 6761..=6763 => &[16, 19, 13],
        _ => return None,
    };
    lengths.iter().find_map(|length| {
        let gaps = number.gaps(*length);
        let groups = || gaps.iter().map(|(before, _)| *before);
        let grouping: &[&[usize]] = match length {
            14 | 15 => &[&[], &[4, 10]],
            16 => &[&[], &[4, 8, 12]],
            19 => &[&[], &[4, 8, 12, 16]],
            _ => &[&[]],
        };
        let one = gaps.iter().all(|(_, gap)| b" -".contains(gap) && *gap == gaps[0].1);
        let fits = one && grouping.iter().any(|wanted| groups().eq(wanted.iter().copied()));
        (fits && luhn(digits.get(..*length)?)).then(|| number.end(*length, text))?
    })
}

fn luhn(digits: &[u8]) -> bool {
    let weigh = |(place, digit): (usize, &u8)| match (place % 2, *digit) {
        (0, digit) => u32::from(digit),
        (_, digit) if digit > 4 => u32::from(digit) * 2 - 9,
        (_, digit) => u32::from(digit) * 2,
    };
    let same = digits.iter().all(|digit| *digit == digits[0]);
    !same && digits.iter().rev().enumerate().map(weigh).sum::<u32>().is_multiple_of(10)
}

/// `ddd-dd-dddd` of an area that was given out.
fn social(number: &Grouped, text: &[u8]) -> Option<usize> {
    let gaps = number.gaps(9);
    let &[a, b, c, d, e, f, g, h, i] = number.digits().get(..9)? else { return None };
    let area = [a, b, c];
    let never = area == [0, 0, 0] || area == [6, 6, 6] || a == 9;
    let empty = [d, e] == [0, 0] || [f, g, h, i] == [0, 0, 0, 0];
    let fits = gaps == [(3, b'-'), (5, b'-')] || gaps == [(3, b' '), (5, b' ')];
    (fits && !never && !empty).then(|| number.end(9, text))?
}

/// 8 to 15 digits after a plus (E.164), in groups of at least two.
fn phone(number: &Grouped, text: &[u8], at: usize) -> Option<usize> {
    let mut digits = number.count.min(15);
    // Two separators side by side end it, unless they are around an area code.
    let far = number.gaps[..number.gap_count].windows(2).find(|pair| {
        let pairs: [&[u8; 2]; 4] = [b" (", b") ", b")-", b"-("];
        pair[0].0 == pair[1].0 && !pairs.contains(&&[pair[0].1, pair[1].1])
    });
    digits = far.map_or(digits, |pair| digits.min(pair[0].0));
    let starts = text[at] != b'0';
    (starts && (8..=15).contains(&digits)).then(|| number.end(digits, text))?
}

/// `(ddd) ddd-dddd`, `ddd-ddd-dddd`, `ddd.ddd.dddd`, with or without a leading `1-`.
fn american(number: &Grouped, text: &[u8], opened: bool) -> Option<usize> {
    let skip = usize::from(number.digits().first() == Some(&1) && !opened);
    let digits = number.digits().get(skip..skip + 10)?;
    let (area, last) = (skip + 3, skip + 6);
    let area_fits = if opened {
        [&b") "[..], b")", b")-"].iter().any(|gap| number.gap_is(area, gap))
    } else {
        number.gap_is_single(area)
    };
    let country_fits = skip == 0 || number.gap_is_single(1);
    // Blanks alone between groups separate any numbers.
    let plain = !opened && number.gap_is(area, b" ") && number.gap_is(last, b" ");
    let fits = area_fits && number.gap_is_single(last) && country_fits && !plain;
    let given_out = digits[0] > 1 && digits[3] > 1;
    let at_bounds = |(place, _): &(usize, u8)| [1, area, last].contains(place);
    let whole = number.gaps(skip + 10).iter().all(at_bounds);
    (fits && given_out && whole).then(|| number.end(skip + 10, text))?
}
