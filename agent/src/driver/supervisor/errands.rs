//! What the supervisor does for the agent beside tasks: it has the rights for it, and the agent
//! may have none.

use super::{guard::Rules, wire::Said};
use crate::driver::{
    dirs::NodeDirs,
    image::{Images, LaidImage},
    look::{self, Rank},
};
use domain::{LeaseId, image::ImageRef, job::EndCause};
use std::sync::Arc;
use tokio::{
    sync::{Mutex, OnceCell},
    task::spawn_blocking,
};

/// Errands that may be under way at once; an agent asks for few.
pub(super) const UNDER_WAY_MAX: usize = 256;

/// Most ranks in one look.
const RANKS_MAX: usize = 65_536;

/// What errands share.
#[derive(Clone)]
pub(super) struct Errands {
    dirs: NodeDirs,
    rules: Rules,
    images: Arc<OnceCell<Images>>,
    /// Looks and notes one after the other, as they were asked for: what is noted is to be in the
    /// next look.
    looking: Arc<Mutex<()>>,
}

impl Errands {
    pub(super) fn new(dirs: NodeDirs, rules: Rules) -> Self {
        Self { dirs, rules, images: Arc::default(), looking: Arc::default() }
    }

    /// Goes by other rules from now on. What is laid out stays so.
    pub(super) fn renew(&mut self, rules: &Rules) {
        if rules.containers != self.rules.containers {
            self.images = Arc::default();
        }
        self.rules.clone_from(rules);
    }

    /// The node's images, if one was asked for.
    pub(super) fn images(&self) -> Option<&Images> {
        self.images.get()
    }

    /// Lays an image out.
    pub(super) async fn lay_out(self, image: ImageRef) -> Said {
        let laid = self.laid(&image).await;
        let laid = laid.map(|laid| serde_json::to_string(&laid).expect("an image is JSON"));
        Said::LaidOut { image, laid }
    }

    async fn laid(&self, image: &ImageRef) -> Result<LaidImage, EndCause> {
        let open = || Images::open(&self.rules.containers);
        let images = self.images.get_or_try_init(open).await;
        let images = images.map_err(|lack| EndCause::Sandbox {
            detail: format!("this node runs no containers: it lacks {lack}"),
        })?;
        Ok(images.lay_out(image).await?)
    }

    /// Looks at ranks.
    pub(super) async fn look(self, ranks: Vec<(LeaseId, u32)>) -> Said {
        let looking = Arc::clone(&self.looking);
        let _alone = looking.lock().await;
        let looked = spawn_blocking(move || {
            let ranks = ranks.into_iter().take(RANKS_MAX);
            let ranks: Vec<_> = ranks.map(|(lease, rank)| self.rank(lease, rank)).collect();
            let readings = look::look(&ranks);
            let of = |(rank, it): (Rank, crate::machine::health::RankReading)| {
                (rank.lease, rank.rank, it.progress, it.cpu)
            };
            ranks.into_iter().zip(readings).map(of).collect()
        });
        Said::Looked { ranks: looked.await.unwrap_or_default() }
    }

    /// Adds to what a rank printed.
    pub(super) async fn note(
        self,
        lease: LeaseId,
        rank: u32,
        mut text: String,
        dump: bool,
    ) -> Said {
        let _alone = self.looking.lock().await;
        let of = self.rank(lease, rank);
        let noted = spawn_blocking(move || {
            let dump = dump.then(|| look::dump(&of));
            text += dump.as_deref().unwrap_or_default();
            let added = look::append(&of, &text).map_err(|why| why.to_string());
            (added, dump)
        });
        let (added, dump) = noted.await.unwrap_or_else(|why| (Err(why.to_string()), None));
        Said::Noted { lease, rank, added, dump }
    }

    fn rank(&self, lease: LeaseId, rank: u32) -> Rank {
        Rank { lease, rank, dirs: self.dirs.lease(lease), owner: self.rules.owner }
    }
}
