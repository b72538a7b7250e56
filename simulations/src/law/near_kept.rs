//! `near_kept`: no gang starts that has not in common what its job requires.

use domain::{LogIndex, topology::Level};
use scheduler::state::view::View;
use std::collections::BTreeSet;

/// Looks at all that an entry granted, as the entry left it: how many gangs required something,
/// or what is broken.
pub fn look(view: &View<'_>, at: LogIndex) -> Result<u64, String> {
    let mut seen = 0;
    for lease in view.all_leases().filter(|lease| lease.id.index == at.0) {
        let job = view.live_job(lease.element.job);
        let Some(level) = job.and_then(|job| job.brief.topology.require) else { continue };
        seen += 1;
        // Each part's domain by name; a part without one has a name of its own.
        let mut domains = BTreeSet::new();
        for member in &lease.members {
            let Some(row) = view.node(member.node) else { continue };
            let (node, has) = (row.inventory.name.as_str(), &row.inventory.topology);
            let gpus = member.tasks.iter().flat_map(|task| &task.gpus);
            let site = |of: fn(&domain::topology::GpuSite) -> Option<u32>| {
                let known = |gpu: &u32| has.gpus.iter().find(|site| site.index == *gpu);
                let name = |gpu: &u32| format!("{node}/{:?}", known(gpu).and_then(of).ok_or(gpu));
                gpus.clone().map(name).collect::<Vec<_>>()
            };
            domains.extend(match level {
                Level::Nvlink => site(|site| site.nvlink),
                Level::Numa => site(|site| site.numa),
                Level::Node => vec![node.to_owned()],
                Level::Rack if has.rack.is_empty() => vec![node.to_owned()],
                Level::Rack => vec![format!("{} {}", has.block, has.rack)],
                Level::Block => vec![has.block.clone()],
            });
        }
        if domains.len() != 1 {
            let (element, word) = (lease.element, level.word());
            return Err(format!("near_kept: {element} requires one {word} and got {domains:?}"));
        }
    }
    Ok(seen)
}
