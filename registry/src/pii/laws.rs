//! What is found, what is not, and that cuts change nothing.

use super::*;
use proptest::prelude::*;

fn scan(text: &[u8], chunk: usize) -> Report {
    let mut scanner = Scanner::default();
    text.chunks(chunk.max(1)).for_each(|chunk| scanner.push(chunk));
    scanner.finish()
}

fn found(text: &str) -> Vec<(Kind, &str)> {
    let report = scan(text.as_bytes(), usize::MAX);
    let part = |finding: &Finding| {
        let from = finding.offset as usize;
        (finding.kind, &text[from..from + finding.length as usize])
    };
    report.findings.iter().map(part).collect()
}

#[test]
fn each_kind_is_found_where_it_stands() {
    let table = [
        (Kind::Email, "ada.l+x@mail.example.org"),
        (Kind::Email, "a@b.co"),
        (Kind::Iban, "GB82WEST12345698765432"),
        (Kind::Iban, "DE89 3704 0044 0532 0130 00"),
        (Kind::Iban, "NO9386011117947"),
        (Kind::IpAddress, "192.168.17.254"),
        (Kind::IpAddress, "2001:db8:0:1:1:1:1:1"),
        (Kind::IpAddress, "fe80::1:2ff:fe3d"),
        (Kind::PaymentCard, "4111111111111111"),
        (Kind::PaymentCard, "5500-0055-5555-5559"),
        (Kind::PaymentCard, "3782 822463 10005"),
        (Kind::PaymentCard, "6011 0009 9013 9424"),
        (Kind::Phone, "+49 30 901820"),
        (Kind::Phone, "+14155550123"),
        (Kind::Phone, "+1 (415) 555-0123"),
        (Kind::Phone, "(415) 555-0123"),
        (Kind::Phone, "415-555-0123"),
        (Kind::Phone, "1-415-555-0123"),
        (Kind::UsSsn, "123-45-6789"),
    ];
    for (kind, value) in table {
        for (before, after) in
            [("", ""), ("see ", ", or not"), ("x=\"", "\"\n"), ("<", ">"), ("(", ").")]
                .into_iter()
                // An address of six groups would begin with the colon.
                .chain((!value.contains(':')).then_some(("{\"a\":", "}")))
                .chain((!value.contains(':')).then_some(("12:1 id:", ":x")))
        {
            let text = format!("{before}{value}{after}");
            let all = found(&text);
            assert_eq!(all.len(), 1, "{text}: {all:?}");
            assert_eq!(all[0].0, kind, "{text}");
            // A bracket before an area code belongs to it.
            assert_eq!(all[0].1.trim_start_matches('('), value.trim_start_matches('('), "{text}");
        }
    }
}

#[test]
fn what_only_looks_alike_is_not() {
    let table = [
        "2026-11-24T12:16:43.500000Z",
        "4111111111111112",
        "4111 1111 11111 111",
        "1234567890123456",
        "GB82WEST12345698765433",
        "GB82 lower",
        "000-12-3456 666-12-3456 987-65-4321 123-00-4567 123-45-0000",
        "1.2.3 1.2.3.4.5 256.1.1.1 01.2.3.4 v1.2.3.4",
        "12:34:56 std::vector a::b aa:bb:cc:dd:ee:ff",
        "user@host @handle a@b.c .@. x@-a.com",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "550e8400-e29b-41d4-a716-446655440000",
        "115-555-0123 415-155-0123 415 555 0123 4155550123",
        "0.123456789 1e-10 -3.14159 100,000,000",
        "+1 +12 34 +0123456789",
    ];
    for text in table {
        assert_eq!(found(text), [], "{text}");
    }
}

#[test]
fn a_report_counts_all_and_lists_the_first() {
    let text = "a@b.co ".repeat(1_500);
    let report = scan(text.as_bytes(), 4_096);
    assert_eq!((report.total(), report.findings.len()), (1_500, 1_000));
    assert_eq!(report.scanned_bytes, 7 * 1_500);
    assert_eq!((report.detector, report.detector_version), ("assay-pii", 2));
}

#[test]
fn values_at_the_bounds_of_their_length_are_found_across_cuts() {
    let local = "l".repeat(64);
    let domain = format!("{}.{}.{}.org", "a".repeat(63), "b".repeat(63), "c".repeat(63));
    let text = format!("{} {local}@{domain} {}", "x ".repeat(300), "y ".repeat(300));
    for chunk in [1, 7, 64, 255, 256, 300, 321, 322, 323, 640, 2_000] {
        let report = scan(text.as_bytes(), chunk);
        assert_eq!(report.total(), 1, "{chunk}");
        assert_eq!(report.findings[0].length as usize, 64 + 1 + domain.len(), "{chunk}");
    }
    let long = format!("{local}l@{domain}");
    assert_eq!(scan(long.as_bytes(), usize::MAX).total(), 0, "a local part has 64 at most");
}

fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-f0-9:@. +()-]{0,40}",
        "[ -~]{0,300}",
        Just("ada@example.org".to_owned()),
        Just("4111 1111 1111 1111".to_owned()),
        Just("DE89 3704 0044 0532 0130 00".to_owned()),
        Just("+49 30 901820 ".to_owned()),
        Just("2001:db8:0:1:1:1:1:1".to_owned()),
        Just("é\u{1f600}".to_owned()),
    ]
}

proptest! {
    #[test]
    fn where_chunks_are_cut_changes_nothing(
        pieces in prop::collection::vec(piece(), 0..30),
        sizes in prop::collection::vec(1_usize..900, 1..6),
    ) {
        let text = pieces.concat().into_bytes();
        let whole = scan(&text, usize::MAX);
        let mut scanner = Scanner::default();
        let (mut rest, mut turn) = (&text[..], sizes.iter().cycle());
        while !rest.is_empty() {
            let size = (*turn.next().expect("it never ends")).min(rest.len());
            scanner.push(&rest[..size]);
            rest = &rest[size..];
        }
        prop_assert_eq!(scanner.finish(), whole);
    }

    #[test]
    fn no_bytes_break_a_scan(text in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let report = scan(&text, 333);
        let mut end = 0;
        for finding in &report.findings {
            prop_assert!(finding.offset >= end && finding.length > 0, "they do not overlap");
            end = finding.offset + finding.length;
        }
        prop_assert!(end <= text.len() as u64);
    }
}

/// `cargo test --release -p registry --lib pii -- --ignored --nocapture`
#[test]
#[ignore = "measures time: only a release build says anything"]
fn text_is_scanned_at_over_200_megabytes_a_second() {
    let prose = "The quick brown fox jumps over the lazy dog, and 12 others follow at 10:45. ";
    let record = "2026-11-24T12:16:43Z INFO id=9f86d081 user=ada@example.org from 10.0.0.17 \
                  took 1234.5 ms, card 4111 1111 1111 1111, call +49 30 901820\n";
    for (name, line) in [("prose", prose), ("records", record)] {
        let text = line.repeat((64 << 20) / line.len());
        let started = std::time::Instant::now();
        let mut scanner = Scanner::default();
        text.as_bytes().chunks(1 << 20).for_each(|chunk| scanner.push(chunk));
        let report = scanner.finish();
        let speed = text.len() as f64 / 1e6 / started.elapsed().as_secs_f64();
        println!("{name}: {speed:.0} MB/s, {} findings", report.total());
        assert!(speed > 200.0, "{name}: {speed}");
    }
}
