//! Who may change what, with real certificates.

use crate::harness::{
    User,
    cluster::Cluster,
    people::{Person, person},
};

const DENIED: i32 = 6;

#[test]
fn admins_change_the_cluster_and_users_their_own_jobs() {
    let cluster = Cluster::start();
    let admin = &cluster.user;
    let Person { user: bob, .. } = person(&cluster, "bob");
    let file = cluster.path("cluster.toml");
    std::fs::write(&file, "[queues.default]\nuser_gpus_max = 1\n").unwrap();
    let file = file.display().to_string();
    for words in [
        &["apply", &file, "--reason", "mine"][..],
        &["node", "drain", "node-a", "--reason", "mine"],
        &["node", "quarantine", "node-a", "--reason", "mine"],
        &["node", "resume", "node-a", "--vouch"],
        &[
            "reservation",
            "create",
            "mine",
            "--nodes",
            "node-a",
            "--duration",
            "1h",
            "--reason",
            "x",
        ],
        &["cluster", "transfer", "r2"],
        &["cluster", "remove", "r3"],
        &["approver", "remove", "bob"],
    ] {
        let told = bob.fails(DENIED, words);
        assert!(told.contains("`bob` is no admin"), "{words:?}: {told}");
    }
    let sleeper = ["submit", "--outputs", "none", "--cpus", "0.5", "--name"];
    let sleeps = ["--", "sleep", "600"];
    admin.ok(&[&sleeper[..], &["theirs"], &sleeps].concat());
    bob.ok(&[&sleeper[..], &["own"], &sleeps].concat());
    for words in [&["cancel", "j1"][..], &["hold", "j1"], &["priority", "j1", "5"]] {
        let told = bob.fails(DENIED, words);
        assert!(told.contains("j1 is of `dev`") || told.contains("j1 is of `"), "{told}");
    }
    bob.ok(&["priority", "j2", "5"]);
    bob.ok(&["cancel", "j2"]);
    admin.ok(&["cancel", "j1"]);
    bob.fails(4, &["cancel", "j9"]);
}

#[test]
fn members_are_changed_through_a_server_that_does_not_lead() {
    let cluster = Cluster::start();
    let leader = cluster.user.leader();
    let follower = ["r1", "r2", "r3"].into_iter().find(|id| *id != leader).unwrap();
    let at = usize::from(follower.as_bytes()[1] - b'1');
    // A profile that knows one follower alone.
    let read = |file: &str| std::fs::read_to_string(cluster.path(file)).unwrap();
    let profile = read("profile.toml");
    let servers = profile.lines().find(|line| line.starts_with("servers")).unwrap();
    let address = servers.split('"').filter(|part| part.contains(':')).nth(at).unwrap();
    let dir = cluster.path("one");
    std::fs::create_dir_all(&dir).unwrap();
    let one = profile.replace(servers, &format!("servers = [\"{address}\"]"));
    let one = one.replace("= \"tls/", &format!("= \"{}/", cluster.path("tls").display()));
    std::fs::write(dir.join("profile.toml"), one).unwrap();
    let user = User { profile: dir };
    user.ok(&["cluster", "transfer", follower]);
    cluster.user.until("the follower leads", |user| (user.leader() == follower).then_some(()));
}
