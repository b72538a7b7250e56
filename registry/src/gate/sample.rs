//! Which requests a canary policy applies to.

use domain::Digest;

/// Whether a policy for `percent` of all requests applies to this one.
///
/// Source: platform contract §5.6, `u32be(sha256(id)[..4]) / 0xffffffff * 100 < percent`, here in
/// whole numbers.
#[must_use]
pub fn sampled(request_id: &str, percent: u32) -> bool {
    let digest = Digest::of(request_id.as_bytes()).0;
    let place = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    percent >= 100 || u64::from(place) * 100 < u64::from(percent) * u64::from(u32::MAX)
}
