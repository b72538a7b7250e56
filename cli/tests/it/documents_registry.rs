//! The documents of the registry's commands and of backups: their keys and kinds of values, as
//! programs have come to rely on them. Those of other commands are in `documents.rs`.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{User, cluster::Cluster, shape::document};
use expect_test::expect;

/// A result that is there already, models, data sets, approvers, drift, proofs, usage.
fn the_registrys_documents_keep_their_form(user: &User, path: &dyn Fn(&str) -> String) {
    let check = |words: &[&str], expected: expect_test::Expect| {
        expected.assert_eq(&document(user, words));
    };
    let same = "echo kept > \"$ASSAY_OUTPUT_DIR/answer\"";
    let again = ["submit", "--name", "kept", "--cpus", "0.5", "--", "sh", "-c", same];
    check(
        &again,
        expect![[r#"
        {
          "artifact": "string",
          "log_index": "number",
          "name": "string",
          "recipe": "string",
          "schema": "known_result/v1"
        }
    "#]],
    );
    check(
        &["model", "register", "digits", "--artifact", "a1"],
        expect![[r#"
        {
          "artifact": "string",
          "log_index": "number",
          "model": "string",
          "schema": "model_registered/v1",
          "stage": "string"
        }
    "#]],
    );
    check(
        &["approver", "new-key", &path("ada.pem")],
        expect![[r#"
        {
          "private_key": "string",
          "public_key": "string",
          "schema": "approver_key/v1"
        }
    "#]],
    );
    let data = path("data.csv");
    std::fs::write(&data, "1,2,3\n").unwrap();
    let from = ["--source", "here", "--licence", "CC0-1.0"];
    check(
        &[&["dataset", "register", "rows", &data], &from[..]].concat(),
        expect![[r#"
        {
          "blocked": [],
          "dataset": "string",
          "log_index": "number",
          "pii_findings": "number",
          "schema": "dataset_registered/v1",
          "tree": "string"
        }
    "#]],
    );
    check(
        &["dataset", "licences"],
        expect![[r#"
        {
          "licences": {
            "0BSD": "bool",
            "Apache-2.0": "bool",
            "BSD-2-Clause": "bool",
            "BSD-3-Clause": "bool",
            "BSL-1.0": "bool",
            "C-UDA-1.0": "bool",
            "CC-BY-3.0": "bool",
            "CC-BY-4.0": "bool",
            "CC-BY-SA-3.0": "bool",
            "CC-BY-SA-4.0": "bool",
            "CC-PDDC": "bool",
            "CC0-1.0": "bool",
            "CDLA-Permissive-1.0": "bool",
            "CDLA-Permissive-2.0": "bool",
            "CDLA-Sharing-1.0": "bool",
            "ISC": "bool",
            "MIT": "bool",
            "MIT-0": "bool",
            "O-UDA-1.0": "bool",
            "ODC-By-1.0": "bool",
            "ODbL-1.0": "bool",
            "PDDL-1.0": "bool",
            "Unlicense": "bool",
            "Zlib": "bool"
          },
          "log_index": "number",
          "schema": "licences/v1"
        }
    "#]],
    );
    let (before, now) = (path("before.json"), path("now.json"));
    std::fs::write(&before, "[1.0, 2.0, 3.0, 4.0]").unwrap();
    std::fs::write(&now, "[1.0, 2.5, 3.5, 4.0]").unwrap();
    check(
        &["drift", "score", "--reference", &before, "--current", &now],
        expect![[r#"
        {
          "current_count": "number",
          "drifted": "bool",
          "effects": [
            "string"
          ],
          "jensen_shannon": "number",
          "kind": "string",
          "ks": {
            "p_value": "number",
            "statistic": "number"
          },
          "p_value": "number",
          "p_value_corrected": "number",
          "psi": "number",
          "reference_count": "number",
          "schema": "drift_score/v1",
          "wasserstein": "number",
          "wasserstein_normed": "number"
        }
    "#]],
    );
    check(
        &["audit", "prove", "1"],
        expect![[r#"
        {
          "event": "number",
          "log_key": "string",
          "payload": "string",
          "proof": "string",
          "root": "string",
          "schema": "audit_proof/v1",
          "tree_size": "number"
        }
    "#]],
    );
    let days = ["--from", "2026-01-01", "--to", "2026-01-02", "--cents-per-gpu-hour", "250"];
    check(
        &[&["usage", "export"], &days[..]].concat(),
        expect![[r#"
        {
          "cents_per_gpu_hour": "number",
          "cluster": "string",
          "currency": "string",
          "digest": "string",
          "final": "bool",
          "free_gpu_seconds": "string",
          "from": "string",
          "held": {
            "held_idle_gpu_seconds": "string",
            "lost_to_cancel_gpu_seconds": "string",
            "lost_to_faults_gpu_seconds": "string",
            "lost_to_preemption_gpu_seconds": "string",
            "rework_gpu_seconds": "string",
            "useful_gpu_seconds": "string"
          },
          "held_by_checks": {
            "held_idle_gpu_seconds": "string",
            "lost_to_cancel_gpu_seconds": "string",
            "lost_to_faults_gpu_seconds": "string",
            "lost_to_preemption_gpu_seconds": "string",
            "rework_gpu_seconds": "string",
            "useful_gpu_seconds": "string"
          },
          "jobs_below_one_cent": "number",
          "journals": [],
          "log_index": "string",
          "schema": "assay.finance.journals/v1",
          "to": "string",
          "wall_gpu_seconds": "string"
        }
    "#]],
    );
}

fn backups_keep_their_form(user: &User, dir: &str) {
    let check = |words: &[&str], expected: expect_test::Expect| {
        expected.assert_eq(&document(user, words));
    };
    check(
        &["backup", "take", dir],
        expect![[r#"
        {
          "blobs": "number",
          "blobs_bytes": "number",
          "checkpoints": "number",
          "chunks_fetched_bytes": "number",
          "dir": "string",
          "fetched": "number",
          "fetched_bytes": "number",
          "log_index": "number",
          "rows_bytes": "number",
          "schema": "backup/v1",
          "silent": [],
          "state": "string"
        }
    "#]],
    );
    check(
        &["backup", "list", dir],
        expect![[r#"
        {
          "backups": [
            {
              "blobs": {
                "count": "number",
                "list": {
                  "file": "string",
                  "sha256": "string",
                  "size_bytes": "number"
                },
                "size_bytes": "number"
              },
              "checkpoints": {
                "count": "number",
                "list": {
                  "file": "string",
                  "sha256": "string",
                  "size_bytes": "number"
                },
                "size_bytes": "number"
              },
              "cluster": "string",
              "log_index": "number",
              "log_term": "number",
              "rows": {
                "file": "string",
                "sha256": "string",
                "size_bytes": "number"
              },
              "schema": "backup/v1",
              "silent": [],
              "state": "string",
              "time_ms": "number"
            }
          ],
          "schema": "backups/v1"
        }
    "#]],
    );
    check(
        &["backup", "verify", dir],
        expect![[r#"
        {
          "blobs": "number",
          "checkpoints": "number",
          "log_index": "number",
          "read_bytes": "number",
          "schema": "backup_check/v1"
        }
    "#]],
    );
}

#[test]
fn documents_of_the_registry_and_of_backups_keep_their_form() {
    let cluster = Cluster::start();
    let user = &cluster.user;
    let path = |tail: &str| cluster.path(tail).to_str().unwrap().to_owned();
    user.run_job("kept");
    the_registrys_documents_keep_their_form(user, &path);
    backups_keep_their_form(user, &path("backups"));
}
