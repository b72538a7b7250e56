//! Told what is new of its leases, and not all of them again.

use super::script::play;
use expect_test::expect;

#[test]
fn what_is_not_news_of_a_held_lease_stays_and_what_is_not_held_goes() {
    let text = play(
        "connected
         welcome
         @0 contact 0
         @100 wanted 5 l5.0/preparing
         @110 news 6 l5.0,l6.0 l6.0/preparing
         @120 prepared l6.0
         @130 news 7 l6.0
         @140 news 6 l5.0,l6.0 l5.0/preparing",
    );
    expect![[r#"
        connected
            register holding []
        welcome
            heartbeat 0 holding []
        @0 contact 0
        @100 wanted 5 l5.0/preparing
            prepare l5.0
        @110 news 6 l5.0,l6.0 l6.0/preparing
            prepare l6.0
        @120 prepared l6.0
            report 1: l6.0 prepared
        @130 news 7 l6.0
            forget l5.0
        @140 news 6 l5.0,l6.0 l5.0/preparing
    "#]]
    .assert_eq(&text);
}
