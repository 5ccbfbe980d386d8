//! One object, from the first question to the last byte: all who may have it are asked, what they
//! offer is sorted by what it says the object is, and one offer after the other is followed up.
//!
//! A peer is believed about nothing. A whole object is compared with its id; a chunk with the manifest
//! that the same peer gave; and what the chunks make up with the id again. Peers that gave another
//! manifest are not asked for the chunks of this one, so that nobody is accused of what another said.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use grid_keys::NodeId;
use grid_promises::ContentId;
use grid_promises::modules::fetch::FetchRequest;
use grid_promises::modules::{Manifest, Progress};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::client::{Contacts, Patience};
use super::download::{Download, End, Standing};
use super::error::{FetchError, Peers, Told};
use super::partial::{Partial, free};
use super::verify::{Miss, Offered, keep, weigh};
use crate::objects::{CacheError, Objects};
use crate::peer::Peer;

/// How long a peer is waited for that may have to hash a large object first.
const OFFERING: Patience = Patience {
    connect: Duration::from_secs(10),
    answer: Duration::from_secs(20),
};
/// How long for a chunk, which may share a slow line with others.
const GIVING: Patience = Patience {
    connect: Duration::from_secs(10),
    answer: Duration::from_secs(25),
};
/// How often a peer is asked again whose connection ended, and after how long, twice as long each time.
const RETURNS: u32 = 4;
const RETURN_AFTER: Duration = Duration::from_millis(250);
/// How often is looked who is late.
const TICK: Duration = Duration::from_millis(200);
/// How long nothing may come under one manifest while somebody gives another one.
const STALLED: Duration = Duration::from_secs(5);
/// What stays free on the disk, in bytes.
const SPARE: u64 = 32 << 20;

/// What a hunt needs of the server.
#[derive(Clone)]
pub(super) struct Means {
    pub(super) contacts: Arc<Contacts>,
    pub(super) objects: Objects,
    /// `cache/partial/`.
    pub(super) partials: PathBuf,
}

/// What is wanted, and how much of it at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) id: ContentId,
    /// In bytes.
    pub(super) limit: u64,
    /// As what, for the error.
    pub(super) what: &'static str,
}

/// How far a hunt is, in bytes of the object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SoFar {
    pub(super) here: u64,
    /// Of which this was here before it began.
    pub(super) before: u64,
    /// 0: not known yet.
    pub(super) total: u64,
    /// How many peers are asked for chunks.
    pub(super) peers: usize,
}

/// An object that is in the store now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Had {
    /// The object.
    pub id: ContentId,
    /// Its length, in bytes.
    pub bytes: u64,
    /// Who gave it, or parts of it; nobody if it was here.
    pub from: Vec<NodeId>,
}

/// What a peer did.
enum Event {
    Offered(NodeId, Result<Offered, Told>),
    Chunk(NodeId, u32, ContentId, Result<(), Miss>),
}

pub(super) struct Hunt {
    means: Means,
    wanted: Wanted,
    contacts: BTreeMap<NodeId, Peer>,
    /// Those that lied before: asked when the others failed.
    last: Vec<NodeId>,
    told: BTreeMap<NodeId, Told>,
    returns: BTreeMap<NodeId, u32>,
    asking: usize,
    tasks: JoinSet<Event>,
    /// What they say the object is, and who says so.
    manifests: BTreeMap<ContentId, (Arc<Manifest>, BTreeSet<NodeId>)>,
    false_manifests: BTreeSet<ContentId>,
    active: Option<(ContentId, Download)>,
    so_far: watch::Sender<SoFar>,
}

impl Hunt {
    pub(super) fn new(
        means: Means,
        wanted: Wanted,
        from: &[Peer],
        so_far: watch::Sender<SoFar>,
    ) -> Self {
        let contacts: BTreeMap<NodeId, Peer> = from
            .iter()
            .map(|contact| (contact.node, contact.clone()))
            .collect();
        let is_liar = |node: &&NodeId| means.contacts.is_liar(node);
        let last = contacts.keys().filter(is_liar).copied().collect();
        Self {
            means,
            wanted,
            contacts,
            last,
            told: BTreeMap::new(),
            returns: BTreeMap::new(),
            asking: 0,
            tasks: JoinSet::new(),
            manifests: BTreeMap::new(),
            false_manifests: BTreeSet::new(),
            active: None,
            so_far,
        }
    }

    /// Hunts until the object is here, or nobody is left who could give it. Ends early when nobody
    /// waits for it any more; what came of it stays for the next attempt.
    pub(super) async fn run(mut self) -> Result<Had, FetchError> {
        let outcome = self.hunt().await;
        self.tasks.abort_all();
        if let Some((_, download)) = self.active.take() {
            download.leave().await;
        }
        outcome
    }

    async fn hunt(&mut self) -> Result<Had, FetchError> {
        let first = self
            .contacts
            .keys()
            .filter(|node| !self.last.contains(node));
        for node in first.copied().collect::<Vec<_>>() {
            self.ask(node, Duration::ZERO);
        }
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if let Some(had) = self.follow_up().await? {
                return Ok(had);
            }
            self.ask_for_chunks();
            if self.tasks.is_empty() && self.active.is_none() {
                return Err(FetchError::of(&self.wanted, Peers(self.told.clone())));
            }
            let nobody_waits = self.so_far.clone();
            tokio::select! {
                () = nobody_waits.closed() => return Err(FetchError::GivenUp(self.wanted.id)),
                event = self.tasks.join_next(), if !self.tasks.is_empty() => match event {
                    Some(Ok(event)) => {
                        if let Some(had) = self.take(event).await? {
                            return Ok(had);
                        }
                    }
                    // A task that panicked, of which nothing is known.
                    Some(Err(_)) => return Err(FetchError::GivenUp(self.wanted.id)),
                    None => {}
                },
                _ = tick.tick() => {
                    self.look();
                    self.pass_over().await;
                }
            }
        }
    }

    fn look(&mut self) {
        if let Some((_, download)) = &mut self.active {
            download.note(Instant::now());
            let (here, peers) = (download.bytes_here(), download.source_count());
            self.so_far.send_modify(|so_far| {
                so_far.here = here;
                so_far.peers = peers;
            });
        }
    }

    /// Turns to another manifest, if those who gave this one do not give its chunks.
    async fn pass_over(&mut self) {
        let Some((active, download)) = &self.active else {
            return;
        };
        let active = *active;
        let others = self.manifests.iter();
        let has_other = others
            .filter(|(id, _)| **id != active)
            .any(|(_, (_, peers))| !peers.is_empty());
        if !has_other || download.stalled(Instant::now()) < STALLED {
            return;
        }
        if let Some((_, download)) = self.active.take() {
            download.leave().await;
        }
        let silent = self.manifests.remove(&active);
        for peer in silent.map(|(_, peers)| peers).unwrap_or_default() {
            self.disappointed(peer, Told::Silent);
        }
    }

    /// Asks a peer what it has.
    fn ask(&mut self, node: NodeId, after: Duration) {
        let Some(contact) = self.contacts.get(&node).cloned() else {
            return;
        };
        let (means, wanted) = (self.means.clone(), self.wanted);
        self.asking += 1;
        self.tasks.spawn(async move {
            tokio::time::sleep(after).await;
            let request = FetchRequest::Object(wanted.id);
            let answer = means.contacts.request(&contact, &request, OFFERING).await;
            let offered = match answer {
                Ok(bytes) => weigh(&means.objects, wanted, bytes).await,
                Err(told) => Err(told),
            };
            Event::Offered(contact.node, offered)
        });
    }

    async fn take(&mut self, event: Event) -> Result<Option<Had>, FetchError> {
        match event {
            Event::Offered(peer, offered) => {
                self.asking = self.asking.saturating_sub(1);
                match offered {
                    Ok(Offered::Stored(bytes)) => {
                        return Ok(Some(Had {
                            id: self.wanted.id,
                            bytes,
                            from: vec![peer],
                        }));
                    }
                    Ok(Offered::Manifest(id, manifest)) => self.offered(peer, id, manifest),
                    Ok(Offered::Unstored(error)) => return Err(self.unstored(&error)),
                    Err(told) => self.disappointed(peer, told),
                }
            }
            Event::Chunk(peer, index, manifest, outcome) => {
                let Some((id, download)) = &mut self.active else {
                    return Ok(None);
                };
                // Of one that was given up since.
                if *id != manifest {
                    return Ok(None);
                }
                match outcome {
                    Ok(()) => download.came(peer, index),
                    Err(Miss::Peer(told)) => {
                        if download.failed(peer, index, &told) == Standing::Goes {
                            self.disappointed(peer, told);
                        }
                    }
                    Err(Miss::Disk(error)) => {
                        return Err(FetchError::Store(self.wanted.id, error));
                    }
                }
            }
        }
        Ok(None)
    }

    fn offered(&mut self, peer: NodeId, id: ContentId, manifest: Arc<Manifest>) {
        if self.false_manifests.contains(&id) {
            return self.disappointed(peer, Told::Lied(false_manifest(&self.wanted.id)));
        }
        let (_, peers) = self
            .manifests
            .entry(id)
            .or_insert_with(|| (manifest, BTreeSet::new()));
        peers.insert(peer);
        if let Some((active, download)) = &mut self.active
            && *active == id
        {
            download.add_source(peer);
        }
    }

    /// A peer gives nothing, or nothing more.
    fn disappointed(&mut self, peer: NodeId, told: Told) {
        for (_, peers) in self.manifests.values_mut() {
            peers.remove(&peer);
        }
        if let Told::Lied(what) = &told {
            self.means.contacts.note_lie(peer, what);
        }
        // A connection that ended may come back: its server may have been started anew.
        if let Told::Lost(_) = &told {
            let returns = self.returns.entry(peer).or_default();
            *returns += 1;
            if *returns <= RETURNS {
                let after = RETURN_AFTER * (1 << *returns);
                self.told.insert(peer, told);
                return self.ask(peer, after);
            }
        }
        self.told.insert(peer, told);
    }

    /// Sees whether something can be finished, given up, or begun.
    async fn follow_up(&mut self) -> Result<Option<Had>, FetchError> {
        loop {
            match &self.active {
                Some((_, download)) if download.is_complete() => {
                    if let Some(had) = self.finish().await? {
                        return Ok(Some(had));
                    }
                }
                // As long as others may still give the same, it is waited for them.
                Some((_, download)) if download.is_stuck() && self.asking == 0 => {
                    if let Some((_, download)) = self.active.take() {
                        download.leave().await;
                    }
                }
                Some(_) => return Ok(None),
                None => match self.best() {
                    Some(id) => self.begin(id).await?,
                    None => {
                        if self.asking == 0 {
                            for node in std::mem::take(&mut self.last) {
                                self.ask(node, Duration::ZERO);
                            }
                        }
                        return Ok(None);
                    }
                },
            }
        }
    }

    /// The manifest to follow: the one that most give, of these the shortest, which costs least to be
    /// wrong about.
    fn best(&self) -> Option<ContentId> {
        let open = self
            .manifests
            .iter()
            .filter(|(_, (_, peers))| !peers.is_empty());
        open.min_by_key(|(id, (manifest, peers))| {
            (std::cmp::Reverse(peers.len()), manifest.length(), **id)
        })
        .map(|(id, _)| *id)
    }

    async fn begin(&mut self, id: ContentId) -> Result<(), FetchError> {
        let Some((manifest, peers)) = self.manifests.get(&id).cloned() else {
            return Ok(());
        };
        let (partial, progress) = self.open(Arc::clone(&manifest)).await?;
        let before = progress.bytes_here();
        let mut download = Download::new(&self.wanted.id, manifest, partial, progress);
        let total = download.manifest.length();
        for peer in peers {
            download.add_source(peer);
        }
        self.so_far.send_replace(SoFar {
            here: before,
            before,
            total,
            peers: download.source_count(),
        });
        self.active = Some((id, download));
        Ok(())
    }

    /// Opens the file, if there is room for it.
    async fn open(&self, manifest: Arc<Manifest>) -> Result<(Partial, Progress), FetchError> {
        let (id, folder) = (self.wanted.id, self.means.partials.clone());
        let refused = move |error: String| FetchError::Store(id, error);
        let opening = tokio::task::spawn_blocking(move || {
            let (partial, progress) = Partial::open(&folder, &id, &manifest)
                .map_err(|error| refused(format!("{}: {error}", folder.display())))?;
            let needed = manifest.length() - progress.bytes_here();
            match free(&folder) {
                Some(free) if free < needed.saturating_add(SPARE) => {
                    if progress.chunks_here() == 0 {
                        partial.discard();
                    }
                    Err(FetchError::NoSpace {
                        id,
                        needed,
                        free,
                        path: folder.display().to_string().into(),
                    })
                }
                _ => Ok((partial, progress)),
            }
        });
        opening.await.unwrap_or(Err(FetchError::GivenUp(id)))
    }

    async fn finish(&mut self) -> Result<Option<Had>, FetchError> {
        let Some((manifest, download)) = self.active.take() else {
            return Ok(None);
        };
        let from: Vec<NodeId> = download.givers().iter().copied().collect();
        let id = self.wanted.id;
        match download.finish(id, self.means.objects.clone()).await {
            End::Stored(put) => Ok(Some(Had {
                id,
                bytes: put.len,
                from,
            })),
            End::FalseManifest => {
                self.false_manifests.insert(manifest);
                let gave = self.manifests.remove(&manifest);
                for peer in gave.map(|(_, peers)| peers).unwrap_or_default() {
                    self.disappointed(peer, Told::Lied(false_manifest(&id)));
                }
                Ok(None)
            }
            End::Failed(error) => Err(self.unstored(&error)),
        }
    }

    fn ask_for_chunks(&mut self) {
        let Some((manifest_id, download)) = &mut self.active else {
            return;
        };
        for (peer, index) in download.next(Instant::now()) {
            let Some(contact) = self.contacts.get(&peer).cloned() else {
                continue;
            };
            let (contacts, manifest_id) = (Arc::clone(&self.means.contacts), *manifest_id);
            let (manifest, partial) = (
                Arc::clone(&download.manifest),
                Arc::clone(download.partial()),
            );
            let request = FetchRequest::Chunk(self.wanted.id, index);
            self.tasks.spawn(async move {
                let outcome = match contacts.request(&contact, &request, GIVING).await {
                    Ok(bytes) => keep(bytes, index, manifest, partial).await,
                    Err(told) => Err(Miss::Peer(told)),
                };
                Event::Chunk(contact.node, index, manifest_id, outcome)
            });
        }
    }

    fn unstored(&self, error: &CacheError) -> FetchError {
        FetchError::Store(self.wanted.id, error.to_string())
    }
}

fn false_manifest(id: &ContentId) -> String {
    format!("its manifest of {id} is false: the chunks fit, and are not that object")
}
