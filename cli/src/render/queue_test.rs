//! Documents and screens of queues, as programs and people have come to rely on them.

use super::{plan, queue};
use crate::output::{Style, stable};
use domain::{
    Bytes, CpuMillis, JobId, LogIndex, Millis,
    queue::{
        ClusterConfig, Order, PriorityClasses, QueueSpec, changes,
        view::{BudgetView, ConfigPlanView, HurtView, QueueUserView, QueueView, QueuesView},
    },
};
use insta::{assert_json_snapshot, assert_snapshot};

fn spec(parent: Option<&str>, guaranteed_gpus: u64) -> QueueSpec {
    QueueSpec { parent: parent.map(Into::into), guaranteed_gpus, ..QueueSpec::default() }
}

fn view(name: &str, spec: QueueSpec, held_gpus: u64) -> QueueView {
    QueueView {
        order: Order::Age,
        name: name.into(),
        gpus_max: spec.gpus_max(),
        held_gpus,
        borrowed_gpus: held_gpus.saturating_sub(spec.guaranteed_gpus),
        held_cpu: CpuMillis(held_gpus * 1_500),
        held_memory: Bytes(held_gpus << 30),
        share_ppm: held_gpus * 10_000,
        used_share_ppm: 123_456,
        weight_share_ppm: 500_000,
        jobs: 9,
        waiting_jobs: 3,
        running: 5,
        budget: None,
        users: vec![QueueUserView { user: "ada".into(), jobs: 9, running: 5, gpus: held_gpus }],
        spec,
    }
}

pub(super) fn queues() -> QueuesView {
    let mut part = view(
        "ml-a",
        QueueSpec {
            weight: 3,
            borrow_gpus_max: Some(8),
            user_gpus_max: Some(16),
            user_running_max: Some(4),
            priority_max: Some(100),
            budget_gpu_hours: Some(1_000),
            budget_period: Some(Millis(86_400_000)),
            verify: None,
            ..spec(Some("ml"), 16)
        },
        20,
    );
    part.budget = Some(BudgetView {
        gpu_hours: 1_000,
        used_gpu_ms: 3_061_800_000,
        used_percent: 85,
        state: "low".into(),
        renewed: Some(Millis(1_764_028_800_000)),
    });
    QueuesView {
        version: 4,
        half_life_ms: 604_800_000,
        changed_by: "user:ops".into(),
        changed_why: "the new team".into(),
        changed_at: LogIndex(88),
        priority_classes: PriorityClasses([("batch".into(), -10), ("urgent".into(), 80)].into()),
        queues: vec![view("default", spec(None, 0), 2), view("ml", spec(None, 32), 20), part],
    }
}

fn config_plan() -> ConfigPlanView {
    let before = ClusterConfig::default();
    let mut after = before.clone();
    after.half_life = Millis(86_400_000);
    after.queues.insert("ml".into(), QueueSpec { weight: 2, ..spec(None, 32) });
    after.priority_classes = PriorityClasses([("urgent".into(), 80)].into());
    let default = QueueSpec { borrow_gpus_max: Some(16), ..QueueSpec::default() };
    after.queues.insert("default".into(), default);
    let hurt = HurtView {
        queue: "default".into(),
        user: None,
        kind: "limit".into(),
        detail: "it holds 24 GPUs, its limit is 16: nothing new starts before 8 are free".into(),
        jobs: vec![JobId(3), JobId(4)],
        more: 2,
    };
    let user = HurtView {
        user: Some("ada".into()),
        kind: "user_limit".into(),
        detail: "has 5 running, a user's limit is 4: nothing new starts".into(),
        more: 0,
        ..hurt.clone()
    };
    ConfigPlanView { version: 4, changes: changes(&before, &after), hurt: vec![hurt, user] }
}

fn applied() -> plan::Applied {
    plan::Applied { applied: true, log_index: Some(LogIndex(101)), plan: config_plan() }
}

#[test]
fn documents_keep_their_form() {
    let all = queue::Queues { all: queues(), log_index: 101 };
    let one = queues().queues.pop().expect("the sample has queues");
    let one = queue::Detail { queue: one, log_index: 101 };
    let plan = plan::Plan { plan: config_plan(), log_index: 101 };
    assert_json_snapshot!("queues.json", stable::document("queues", &all));
    assert_json_snapshot!("queue.json", stable::document("queue", &one));
    assert_json_snapshot!("config_plan.json", stable::document("config-plan", &plan));
    assert_json_snapshot!("config_applied.json", stable::document("config-applied", &applied()));
}

#[test]
fn screens_keep_their_form() {
    let style = Style::COLUMNS;
    let one = queues().queues.pop().expect("the sample has queues");
    assert_snapshot!("queues.txt", queue::list(style, &queues()));
    assert_snapshot!("queue.txt", queue::detail(style, &one));
    assert_snapshot!("plan.txt", plan::text(style, &config_plan(), Some("cluster.toml")));
    assert_snapshot!("applied.txt", plan::applied(style, &applied()));
}
