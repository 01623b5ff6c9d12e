//! One download, from the listing to the marker.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use diffusion_pipeline::checkpoint::layout;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::error::size;
use super::folder::Folder;
use super::hub::Hub;
use super::plan::{Planner, Wanted};
use super::progress::Progress;
use super::{FetchError, MarkedFile, Marker, Wish, download, hash};

/// Files that are downloaded at one time.
const AT_ONCE: usize = 4;

pub(super) struct Run<'a> {
    pub(super) hub: Arc<Hub>,
    pub(super) wish: &'a Wish,
    pub(super) commit: &'a str,
    pub(super) folder: &'a Folder,
    pub(super) progress: &'a Arc<Progress>,
}

/// What is there by now.
#[derive(Default)]
struct Set {
    /// With their SHA-256.
    files: Vec<(Wanted, String)>,
    /// Those that are not in their places yet.
    fetched: Vec<Wanted>,
}

impl Run<'_> {
    pub(super) async fn whole(&self) -> Result<(), FetchError> {
        let Wish { source, variant } = self.wish;
        let listing = self.hub.listing(self.commit, self.progress).await?;
        let planner = Planner { source, listing: &listing, variant: *variant };

        // Is it a model that we can load? That is known before the gigabytes come.
        let index = planner.index()?;
        let (mut rest, indexes) = planner.weights()?;
        rest.extend(planner.configs()?);
        let mut set = Set::default();
        self.get(vec![index.clone()], &mut set).await?;
        layout::check_index(&self.read(&index)?)?;
        self.get(indexes.clone(), &mut set).await?;
        for index in &indexes {
            rest.extend(planner.shards(&index.path, &self.read(index)?)?);
        }

        let chosen: Vec<_> = set.files.iter().map(|(wanted, _)| wanted).chain(&rest).cloned().collect();
        let ours = self.folder.ours();
        let rivals = planner.rivals(&chosen).into_iter().filter(|path| !ours.contains(path));
        if let Some(path) = rivals.map(|path| self.folder.root.join(path)).find(|path| path.exists()) {
            return Err(FetchError::Foreign(path));
        }
        self.folder.forget_partials(&chosen)?;
        let missing = self.look(rest, &mut set).await?;
        self.make_room(&missing, &set)?;
        self.download(missing, &mut set).await?;
        self.folder.install(&set.fetched, &self.marker(&mut set.files))
    }

    fn marker(&self, files: &mut [(Wanted, String)]) -> Marker {
        files.sort_by(|(a, _), (b, _)| a.path.cmp(&b.path));
        let marked = files.iter().map(|(wanted, sha256)| MarkedFile {
            path: wanted.path.clone(),
            size: wanted.entry.size,
            sha256: sha256.clone(),
        });
        Marker {
            source: self.wish.source.to_string(),
            revision: self.commit.into(),
            variant: self.wish.variant.name().into(),
            files: marked.collect(),
        }
    }

    async fn get(&self, wanted: Vec<Wanted>, set: &mut Set) -> Result<(), FetchError> {
        let missing = self.look(wanted, set).await?;
        self.download(missing, set).await
    }

    /// Which files are not in their places with the right contents.
    async fn look(&self, wanted: Vec<Wanted>, set: &mut Set) -> Result<Vec<Wanted>, FetchError> {
        self.progress.expect(wanted.len() as u64, wanted.iter().map(|wanted| wanted.entry.size).sum());
        let mut missing = Vec::new();
        for wanted in wanted {
            let place = self.folder.root.join(&wanted.path);
            let (path, entry) = (place.clone(), wanted.entry.clone());
            let found =
                tokio::task::spawn_blocking(move || hash::of_file(&path, entry.size, &entry.hash)).await;
            let found =
                found.map_err(io::Error::other).and_then(|found| found).map_err(FetchError::file(&place))?;
            match found.filter(|hashes| hashes.check(&wanted.entry.hash).is_ok()) {
                Some(hashes) => {
                    self.progress.came(wanted.entry.size);
                    self.progress.file_done();
                    set.files.push((wanted, hashes.sha256));
                }
                None => missing.push(wanted),
            }
        }
        Ok(missing)
    }

    /// Downloads several at a time.
    async fn download(&self, missing: Vec<Wanted>, set: &mut Set) -> Result<(), FetchError> {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        let mut tasks = JoinSet::new();
        for wanted in missing {
            let (hub, progress, turns) =
                (Arc::clone(&self.hub), Arc::clone(self.progress), Arc::clone(&turns));
            let partial = self.folder.partial(&wanted);
            let (commit, url) = (self.commit.to_owned(), self.hub.file(self.commit, &wanted.path)?);
            tasks.spawn(async move {
                let _turn = turns.acquire().await;
                let hashes = download::fetch(&hub, &url, &commit, &wanted, &partial, &progress).await?;
                progress.file_done();
                Ok::<_, FetchError>((wanted, hashes.sha256))
            });
        }
        // Leaving early aborts the other tasks; what they have is kept.
        while let Some(done) = tasks.join_next().await {
            let (wanted, sha256) =
                done.map_err(|e| FetchError::file(&self.folder.root)(io::Error::other(e)))??;
            set.fetched.push(wanted.clone());
            set.files.push((wanted, sha256));
        }
        Ok(())
    }

    /// A small file that was downloaded, or was there.
    fn read(&self, wanted: &Wanted) -> Result<Vec<u8>, FetchError> {
        let (place, partial) = (self.folder.root.join(&wanted.path), self.folder.partial(wanted));
        let path = if partial.exists() { partial } else { place };
        std::fs::read(&path).map_err(FetchError::file(&path))
    }

    /// Whether there is space for what is missing; what is left of the set before goes first if it has to.
    fn make_room(&self, missing: &[Wanted], set: &Set) -> Result<(), FetchError> {
        let there =
            |wanted| std::fs::metadata(self.folder.partial(wanted)).map_or(0, |metadata| metadata.len());
        let needed = missing.iter().map(|wanted| wanted.entry.size.saturating_sub(there(wanted))).sum();
        let available = self.folder.available()?;
        if needed <= available {
            return Ok(());
        }
        let keep: BTreeSet<_> = set.files.iter().map(|(wanted, _)| wanted.path.as_str()).collect();
        let old = self.folder.marker()?.map_or(0, |marker| {
            let files = marker.files.iter().filter(|file| !keep.contains(file.path.as_str()));
            files.map(|file| file.size).sum()
        });
        if old == 0 || needed > available.saturating_add(old) {
            return Err(FetchError::Space { folder: self.folder.root.clone(), needed, available });
        }
        self.progress.message(&format!(
            "there is no room for two models ({} free): the one that is there is removed first",
            size(available)
        ));
        self.folder.clear(&keep)
    }
}
