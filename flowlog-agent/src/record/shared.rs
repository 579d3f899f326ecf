//! Text that many lines have in common, a pod's or a verdict's, written once and copied from then on: most of a line's
//! bytes, and of the time that serde takes for it.
//!
//! What a line holds is said in `native.rs` alone. The text here is what serde makes of the same parts, and a test holds
//! the two against each other, byte for byte.

use super::native::{
    AttributionPart, DialedPart, EndPart, FlowPart, Head, MixedPart, Moment, OutcomePart, ProcessPart,
    SidePart, TrialPart,
};
use super::shorten::Shortening;
use super::{Labelling, Run, json};
use crate::model::{
    Basis, Decision, DirectionVerdict, Endpoint, Flow, Name, Party, Pod, PolicyRefs, Tier, Verdict, Whose,
};
use lru::LruCache;
use serde::Serialize;
use serde_json::Error;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Texts of a kind that are kept, of a few hundred bytes each: those that were written last.
const MOST: usize = 1_024;

/// A pod's end begins so; its address follows.
const POD: &str = r#"{"kind":"pod""#;

/// What was written before. A key is an address in memory, which stays another's as long as the entry holds it.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pods: LruCache<usize, PodText>,
    sides: LruCache<SideKey, SideText>,
}

impl Default for Shared {
    fn default() -> Self {
        let most = NonZeroUsize::new(MOST).unwrap_or(NonZeroUsize::MIN);
        Self { pods: LruCache::new(most), sides: LruCache::new(most) }
    }
}

#[derive(Clone, Debug)]
struct PodText {
    _held: Arc<Pod>,
    /// Whether the list of labels takes some from it.
    masked: bool,
    /// By the container that took part, where it is known, and whose that is; most pods have one or two.
    texts: Vec<(Option<String>, Whose, Box<[u8]>)>,
}

/// What is said of one direction.
#[derive(Clone, Debug)]
struct SideText {
    _held: PolicyRefs,
    text: Box<[u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct SideKey {
    decision: Decision,
    basis: Basis,
    tier: Option<Tier>,
    /// Where their list is, unless it is empty.
    policies: Option<usize>,
}

impl SideKey {
    /// None where the side has words of its own.
    fn of(side: &DirectionVerdict) -> Option<Self> {
        let policies = (!side.policies.is_empty()).then(|| Arc::as_ptr(&side.policies).addr());
        let key = Self { decision: side.decision, basis: side.basis, tier: side.tier, policies };
        side.reason.is_none().then_some(key)
    }
}

impl Shared {
    /// Append a flow's line as one JSON object, nothing shortened.
    pub(super) fn append_flow(
        &mut self,
        out: &mut Vec<u8>,
        flow: &Flow,
        run: &Run,
        labelling: &Labelling,
    ) -> Result<(), Error> {
        let short = &Shortening::none();
        let (at_source, at_destination) = flow.containers();
        json::append(out, &Head::of("flow", flow.last, run, short))?;
        // Its closing brace: the line goes on.
        out.pop();
        append(out, br#","flow":"#, &FlowPart::of(flow))?;
        out.extend_from_slice(br#","source":"#);
        let mut masked =
            self.append_end(out, (&flow.source, at_source, &flow.source_whose), &[], labelling)?;
        out.extend_from_slice(br#","destination":"#);
        let destination = (&flow.destination, at_destination, &flow.destination_whose);
        masked |= self.append_end(out, destination, &flow.names, labelling)?;
        if let Some(dialed) = &flow.dialed {
            append(out, br#","dialed":"#, &DialedPart::of(dialed, short))?;
        }
        if let Some(process) = &flow.process {
            append(out, br#","process":"#, &ProcessPart::of(process, short))?;
        }
        out.extend_from_slice(br#","verdict":"#);
        self.append_verdict(out, &flow.verdict)?;
        append(out, br#","outcome":"#, &OutcomePart::of(&flow.outcome, short))?;
        append(out, br#","class":"#, &flow.class)?;
        append(out, br#","severity":"#, &flow.class.severity())?;
        if let Some(attribution) = &flow.attribution {
            append(out, br#","attribution":"#, &AttributionPart::of(attribution, short))?;
        }
        if masked {
            append(out, br#","masked":"#, &true)?;
        }
        out.push(b'}');
        Ok(())
    }

    /// Returns whether the list of labels took some.
    fn append_end(
        &mut self,
        out: &mut Vec<u8>,
        (party, container, whose): (&Party, Option<&str>, &Whose),
        names: &[Name],
        labelling: &Labelling,
    ) -> Result<bool, Error> {
        let pod = party.endpoint.as_pod().filter(|_| names.is_empty());
        let Some(pod) = pod else {
            let short = &Shortening::none();
            let end = EndPart::of(party, container, labelling, short).with_whose(whose, short);
            json::append(out, &end.with_names(names, short))?;
            return Ok(labelling.takes(&party.endpoint));
        };
        out.extend_from_slice(POD.as_bytes());
        if let Some(ip) = &party.ip {
            append(out, br#","ip":"#, ip)?;
        }
        if let Some(port) = &party.port {
            append(out, br#","port":"#, port)?;
        }
        let (text, masked) = self.pod(pod, container, whose, labelling)?;
        out.extend_from_slice(text);
        Ok(masked)
    }

    /// What follows a pod's address.
    fn pod(
        &mut self,
        pod: &Arc<Pod>,
        container: Option<&str>,
        whose: &Whose,
        labelling: &Labelling,
    ) -> Result<(&[u8], bool), Error> {
        let known = self.pods.get_or_insert_mut(Arc::as_ptr(pod).addr(), || {
            let masked = labelling.takes(&Endpoint::Pod(Arc::clone(pod)));
            PodText { _held: Arc::clone(pod), masked, texts: Vec::new() }
        });
        let is_it = |(name, of, _): &(Option<String>, Whose, _)| name.as_deref() == container && of == whose;
        let found = known.texts.iter().position(is_it);
        let place = match found {
            Some(place) => place,
            None => {
                let party = Party { endpoint: Endpoint::Pod(Arc::clone(pod)), ip: None, port: None };
                let short = &Shortening::none();
                let end = EndPart::of(&party, container, labelling, short).with_whose(whose, short);
                let whole = text(&end)?;
                let rest = whole.strip_prefix(POD.as_bytes()).unwrap_or_default();
                known.texts.push((container.map(str::to_owned), whose.clone(), rest.into()));
                known.texts.len() - 1
            }
        };
        Ok((known.texts.get(place).map_or(&b"}"[..], |(.., text)| text), known.masked))
    }

    fn append_verdict(&mut self, out: &mut Vec<u8>, verdict: &Verdict) -> Result<(), Error> {
        append(out, br#"{"decision":"#, &verdict.decision)?;
        out.extend_from_slice(br#","egress":"#);
        self.append_side(out, &verdict.egress)?;
        out.extend_from_slice(br#","ingress":"#);
        self.append_side(out, &verdict.ingress)?;
        if let Some(mixed) = &verdict.mixed {
            append(out, br#","mixed":"#, &MixedPart::of(mixed))?;
        }
        append(out, br#","snapshot":"#, &verdict.snapshot)?;
        append(out, br#","as_of":"#, &Moment(verdict.as_of))?;
        if let Some(since) = verdict.stale_since {
            append(out, br#","stale_since":"#, &Moment(since))?;
        }
        if verdict.settling {
            out.extend_from_slice(br#","settling":true"#);
        }
        if let Some(trial) = &verdict.trial {
            append(out, br#","trial":"#, &TrialPart::of(trial, &Shortening::none()))?;
        }
        out.push(b'}');
        Ok(())
    }

    fn append_side(&mut self, out: &mut Vec<u8>, side: &DirectionVerdict) -> Result<(), Error> {
        let part = || SidePart::of(side, &Shortening::none());
        let Some(key) = SideKey::of(side) else { return json::append(out, &part()) };
        let known = self.sides.try_get_or_insert(key, || {
            Ok::<_, Error>(SideText { _held: Arc::clone(&side.policies), text: text(&part())?.into() })
        })?;
        out.extend_from_slice(&known.text);
        Ok(())
    }
}

fn text<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    json::append(&mut text, value)?;
    Ok(text)
}

/// Append a member of the object that is being written, which has others before it.
fn append<T: Serialize>(out: &mut Vec<u8>, name: &[u8], value: &T) -> Result<(), Error> {
    out.extend_from_slice(name);
    json::append(out, value)
}
