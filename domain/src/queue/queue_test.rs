//! Rules of trees of queues.

use super::*;

fn queue(parent: &str, guaranteed_gpus: u64) -> QueueSpec {
    let parent = (!parent.is_empty()).then(|| parent.to_owned());
    QueueSpec { parent, guaranteed_gpus, ..QueueSpec::default() }
}

fn config(queues: &[(&str, QueueSpec)]) -> ClusterConfig {
    let queues = queues.iter().map(|(name, queue)| ((*name).to_owned(), queue.clone())).collect();
    ClusterConfig { queues, ..ClusterConfig::default() }.whole()
}

fn fault(queues: &[(&str, QueueSpec)]) -> String {
    config(queues).check().unwrap_err().to_string()
}

#[test]
fn impossible_trees_are_refused_by_name_with_what_to_do() {
    let table = [
        (vec![("a", queue("b", 0)), ("b", queue("a", 0))], "`a` is a part of itself"),
        (vec![("a", queue("a", 0))], "`a` is a part of itself"),
        (vec![("a", queue("x", 0))], "add `[queues.x]`"),
        (
            vec![("p", queue("", 5)), ("a", queue("p", 3)), ("b", queue("p", 3))],
            "raise its `guaranteed_gpus` to 6",
        ),
        (vec![("a", QueueSpec { weight: 0, ..queue("", 0) })], "weight is 0"),
        (vec![("a b", queue("", 0))], "use 1 to 64 letters"),
        (vec![("a", queue("default", 0))], "make another queue the parent"),
        (
            vec![("a", QueueSpec { budget_period: Some(Millis(1 << 30)), ..queue("", 0) })],
            "add `budget_gpu_hours`",
        ),
    ];
    for (queues, words) in table {
        let fault = fault(&queues);
        assert!(fault.contains(words), "{fault}");
    }
    let names: Vec<String> =
        (0..=crate::limit::QUEUE_DEPTH_MAX).map(|at| format!("q{at}")).collect();
    let deep: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let above = at.checked_sub(1).map_or("", |above| names[above].as_str());
            (name.as_str(), queue(above, 0))
        })
        .collect();
    assert!(fault(&deep).contains("9 levels deep, 8 are the most"), "{}", fault(&deep));
}

#[test]
fn a_possible_tree_has_paths_from_a_queue_to_the_top() {
    let config = config(&[("p", queue("", 6)), ("a", queue("p", 3)), ("b", queue("p", 3))]);
    assert_eq!(config.check(), Ok(()));
    assert_eq!(config.path("a").collect::<Vec<_>>(), ["a", "p"]);
    assert!(config.is_parent("p") && !config.is_parent("a"));
}

#[test]
fn a_difference_names_queue_field_and_both_values() {
    let before = config(&[("a", queue("", 3)), ("c", queue("", 1))]);
    let mut after = config(&[("a", QueueSpec { weight: 2, ..queue("", 4) }), ("b", queue("a", 0))]);
    after.half_life = Millis(5);
    let told: Vec<String> = changes(&before, &after)
        .into_iter()
        .map(|change| {
            let none = "-".to_owned();
            let (from, to) = (change.from.unwrap_or(none.clone()), change.to.unwrap_or(none));
            format!("{} {} {from} {to}", change.queue.unwrap_or_default(), change.field)
        })
        .collect();
    assert_eq!(
        told,
        [
            " half_life_ms 604800000 5",
            "a weight 1 2",
            "a guaranteed_gpus 3 4",
            "b queue - present",
            "b parent - a",
            "c queue present -",
        ]
    );
}
