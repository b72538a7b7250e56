//! Documents and screens of drift, as programs and people have come to rely on them.

use super::{drift, sample_drift as sample};
use crate::output::{Style, stable};
use insta::{assert_json_snapshot, assert_snapshot};

fn monitors() -> drift::Monitors {
    drift::Monitors { monitors: vec![sample::monitor()], log_index: 101 }
}

fn episodes() -> drift::Episodes {
    let [held, over] = sample::others();
    drift::Episodes { episodes: vec![sample::episode(), held, over], log_index: 101 }
}

fn observed() -> drift::Observed {
    let (model, observation) = ("digits@1".into(), sample::observation());
    drift::Observed { model, observation, episode: Some(sample::episode()) }
}

#[test]
fn documents_of_drift_keep_their_form() {
    let document = stable::document("drift_monitors", &monitors());
    assert_json_snapshot!("drift_monitors.json", document);
    let document = stable::document("drift_monitor", &sample::monitor());
    assert_json_snapshot!("drift_monitor.json", document);
    let document = stable::document("drift_episodes", &episodes());
    assert_json_snapshot!("drift_episodes.json", document);
    let document = stable::document("drift_episode", &sample::episode());
    assert_json_snapshot!("drift_episode.json", document);
    let document = stable::document("drift_observation", &observed());
    assert_json_snapshot!("drift_observation.json", document);
}

#[test]
fn screens_of_drift_keep_their_form() {
    let style = Style::COLUMNS;
    let none = drift::Monitors { monitors: Vec::new(), log_index: 1 };
    assert!(drift::monitors(style, &none).contains("assay drift monitor set"));
    assert_snapshot!("drift_monitors.txt", drift::monitors(style, &monitors()));
    assert_snapshot!("drift_monitor.txt", drift::monitor(style, &sample::monitor()));
    assert_snapshot!("drift_episodes.txt", drift::episodes(style, &episodes()));
    assert_snapshot!("drift_episode.txt", drift::episode(style, &sample::episode()));
    assert_snapshot!("drift_held.txt", drift::episode(style, &sample::others()[0]));
    assert_snapshot!("drift_observation.txt", drift::observation(style, &observed()));
}
