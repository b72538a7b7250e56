//! News of what nodes are to hold add up to all that they are to hold.

use super::{
    laws::{any_log, run},
    script::Script,
    view::Told,
};
use domain::{LeaseId, NodeId, link::WantedLease};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What a node knows that was told of news alone.
#[derive(Default)]
struct Node {
    told: Told,
    knows: BTreeMap<LeaseId, WantedLease>,
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn whoever_hears_all_news_knows_all_that_is_wanted(log in any_log()) {
        let mut script = Script::new();
        let mut nodes: BTreeMap<NodeId, Node> = BTreeMap::new();
        for batch in log {
            run(&mut script, vec![batch]);
            let view = script.view();
            for (id, _) in view.all_nodes() {
                let node = nodes.entry(id).or_default();
                let told = std::mem::take(&mut node.told);
                let news = view.wanted_news(id, "c", &script.rows, told);
                node.told = news.told;
                node.knows.retain(|lease, _| news.held.contains(lease));
                node.knows.extend(news.leases.into_iter().map(|it| (it.lease.id, it)));
                let all: Vec<_> = node.knows.values().cloned().collect();
                prop_assert_eq!(all, view.wanted(id, "c", &script.rows));
                let told = node.told.clone();
                let again = view.wanted_news(id, "c", &script.rows, told);
                prop_assert!(again.leases.is_empty(), "told twice: {:?}", again.leases);
            }
        }
    }
}
