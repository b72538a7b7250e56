//! Podman as a program: each question with a bound on its time and its answer.

use super::{ASK, Containers, ImageError, PULL};
use domain::image::ImageRef;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
};

/// Longest answer. Source: an image of 127 layers and as many lines of history takes 100 KiB.
const ANSWER_MAX: u64 = 16 << 20;

/// How to call it.
#[derive(Debug)]
pub(super) struct Podman {
    program: PathBuf,
    /// Where its images stand, where that is not its own.
    store: Vec<String>,
    pub(super) version: String,
}

/// What it says of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inspected {
    pub(super) id: String,
    pub(super) env: BTreeMap<String, String>,
    digests: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    id: String,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    repo_digests: Option<Vec<String>>,
    #[serde(default)]
    config: Option<Config>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default)]
    env: Option<Vec<String>>,
}

/// How a call ended.
struct Answer {
    good: bool,
    stdout: String,
    stderr: String,
}

impl Inspected {
    /// Whether it is what was asked for.
    pub(super) fn is(&self, image: &ImageRef) -> bool {
        let wanted = format!("sha256:{}", image.digest());
        self.digests.contains(&wanted)
    }
}

impl From<Image> for Inspected {
    fn from(image: Image) -> Self {
        let named = image.repo_digests.unwrap_or_default();
        let named = named.iter().filter_map(|name| Some(name.split_once('@')?.1.to_owned()));
        let env = image.config.unwrap_or_default().env.unwrap_or_default();
        let pair = |line: &String| {
            line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
        };
        Self {
            id: image.id,
            env: env.iter().filter_map(pair).collect(),
            digests: named.chain([image.digest]).collect(),
        }
    }
}

impl Podman {
    /// Finds it, and asks for its version.
    pub(super) async fn find(settings: &Containers) -> Result<Self, String> {
        let program = settings.podman.clone().unwrap_or_else(|| PathBuf::from("podman"));
        let store = settings.images.iter().flat_map(|dir| {
            let at = |name: &str| dir.join(name).display().to_string();
            ["--root".to_owned(), at("store"), "--runroot".to_owned(), at("run")]
        });
        let mut found = Self { program, store: store.collect(), version: String::new() };
        let lack = |why: &str| {
            let program = found.program.display();
            format!("podman: `{program}` {why}; install it (`apt-get install podman`)")
        };
        let asked = found.call(&["info", "--format", "{{.Version.Version}}"], ASK).await;
        match asked {
            Ok(Some(answer)) if answer.good => {
                found.version = answer.stdout.trim().to_owned();
                Ok(found)
            }
            Ok(Some(answer)) => {
                let words = answer.stderr.lines().last().unwrap_or_default().to_owned();
                Err(lack(&format!("says: {words}")))
            }
            Ok(None) => Err(lack("does not answer")),
            Err(why) => Err(lack(&format!("does not start: {why}"))),
        }
    }

    /// What is known of an image by `name`, which may be an id; none where there is none.
    pub(super) async fn inspect(
        &self,
        image: &ImageRef,
        name: &str,
    ) -> Result<Option<Inspected>, ImageError> {
        let answer = self.ask("look at", image, &["image", "inspect", "--", name], ASK).await?;
        if !answer.good {
            return match answer.stderr.contains("image not known") {
                true => Ok(None),
                false => Err(ImageError::told("look at", image, &answer.stderr)),
            };
        }
        let all: Vec<Image> = read("look at", image, &answer.stdout)?;
        Ok(all.into_iter().next().map(Into::into))
    }

    /// The id of the image with this digest, whatever it is called.
    pub(super) async fn id_of(&self, image: &ImageRef) -> Result<Option<String>, ImageError> {
        let words = ["images", "--all", "--no-trunc", "--format", "json"];
        let answer = self.ask("list", image, &words, ASK).await?;
        if !answer.good {
            return Err(ImageError::told("list", image, &answer.stderr));
        }
        let all: Vec<Image> = read("list", image, &answer.stdout)?;
        let found = all.into_iter().map(Inspected::from).find(|it| it.is(image));
        Ok(found.map(|it| it.id))
    }

    /// Fetches an image from its registry.
    pub(super) async fn pull(&self, image: &ImageRef) -> Result<(), ImageError> {
        tracing::info!(%image, "image is pulled");
        self.done("pull", image, &["pull", "--quiet", "--", &image.to_string()], PULL).await
    }

    /// Loads an image from an archive.
    pub(super) async fn load(&self, image: &ImageRef, path: &Path) -> Result<(), ImageError> {
        tracing::info!(%image, path = %path.display(), "image is loaded");
        let from = format!("oci-archive:{}", path.display());
        self.done("load", image, &["pull", "--quiet", "--", &from], PULL).await
    }

    /// Mounts an image to read, and says where.
    pub(super) async fn mount(&self, image: &ImageRef, id: &str) -> Result<String, ImageError> {
        let answer = self.ask("mount", image, &["image", "mount", "--", id], ASK).await?;
        match answer.good {
            true => Ok(answer.stdout.trim().to_owned()),
            false => Err(ImageError::told("mount", image, &answer.stderr)),
        }
    }

    async fn done(
        &self,
        what: &'static str,
        image: &ImageRef,
        words: &[&str],
        time: Duration,
    ) -> Result<(), ImageError> {
        let answer = self.ask(what, image, words, time).await?;
        match answer.good {
            true => Ok(()),
            false => Err(ImageError::told(what, image, &answer.stderr)),
        }
    }

    async fn ask(
        &self,
        what: &'static str,
        image: &ImageRef,
        words: &[&str],
        time: Duration,
    ) -> Result<Answer, ImageError> {
        match self.call(words, time).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(ImageError::Late { image: image.clone(), seconds: time.as_secs() }),
            Err(why) => {
                Err(ImageError::Podman { what, image: image.clone(), words: why.to_string() })
            }
        }
    }

    /// Runs it; none where it takes too long, and then it is ended.
    async fn call(&self, words: &[&str], time: Duration) -> std::io::Result<Option<Answer>> {
        let mut child = Command::new(&self.program)
            .args(&self.store)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let told = async {
            let both = tokio::join!(text(stdout), text(stderr));
            Ok::<_, std::io::Error>((child.wait().await?, both.0?, both.1?))
        };
        match tokio::time::timeout(time, told).await {
            Err(_) => Ok(None),
            Ok(told) => {
                let (status, stdout, stderr) = told?;
                Ok(Some(Answer { good: status.success(), stdout, stderr }))
            }
        }
    }
}

fn read(what: &'static str, image: &ImageRef, text: &str) -> Result<Vec<Image>, ImageError> {
    serde_json::from_str(text).map_err(|why| {
        let words = format!("its answer is not understood: {why}");
        ImageError::Podman { what, image: image.clone(), words }
    })
}

async fn text(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(ANSWER_MAX).read_to_end(&mut bytes).await?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
