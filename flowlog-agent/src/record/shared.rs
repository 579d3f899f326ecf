//! Text that many lines have in common, a pod's or a verdict's, written once and copied from then on: most of a line's
//! bytes, and of the time that serde takes for it.
//!
//! What a line holds is said in `native.rs` alone. The text here is what serde makes of the same parts, and a test holds
//! the two against each other, byte for byte.

use super::native::{
    AttributionPart, DialedPart, EndPart, FlowPart, Head, Moment, OutcomePart, ProcessPart, VerdictPart,
};
use super::shorten::Shortening;
use super::{Labelling, Run, json, text};
use crate::model::{
    Basis, Decision, DirectionVerdict, Endpoint, Flow, Name, Party, Pod, PolicyRefs, Tier, Verdict, Whose,
};
use foldhash::HashMap;
use serde::Serialize;
use serde_json::Error;
use std::sync::Arc;

/// Texts of a kind that are kept, of a few hundred bytes each; one more, and all begin anew: pods and policies that went
/// are forgotten that way.
const MOST: usize = 1_024;

/// What verdicts have each for itself begins so.
const SNAPSHOT: &str = r#","snapshot":"#;

/// A pod's end begins so; its address follows.
const POD: &str = r#"{"kind":"pod""#;

/// What was written before. A key is an address in memory, which stays another's as long as the entry holds it.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared {
    pods: HashMap<usize, PodText>,
    verdicts: HashMap<VerdictKey, VerdictText>,
}

#[derive(Clone, Debug)]
struct PodText {
    _held: Arc<Pod>,
    /// Whether the list of labels takes some from it.
    masked: bool,
    /// By the container that took part, where it is known, and whose that is; most pods have one or two.
    texts: Vec<(Option<String>, Whose, Box<str>)>,
}

#[derive(Clone, Debug)]
struct VerdictText {
    _held: [PolicyRefs; 2],
    text: Box<str>,
}

/// What verdicts of many snapshots have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct VerdictKey {
    decision: Decision,
    sides: [SideKey; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct SideKey {
    decision: Decision,
    basis: Basis,
    tier: Option<Tier>,
    policies: usize,
}

impl SideKey {
    /// None where the side has words of its own.
    fn of(side: &DirectionVerdict) -> Option<Self> {
        let policies = Arc::as_ptr(&side.policies).addr();
        let key = Self { decision: side.decision, basis: side.basis, tier: side.tier, policies };
        side.reason.is_none().then_some(key)
    }
}

impl VerdictKey {
    fn of(verdict: &Verdict) -> Option<Self> {
        let sides = [SideKey::of(&verdict.egress)?, SideKey::of(&verdict.ingress)?];
        let plain = verdict.mixed.is_none() && verdict.trial.is_none();
        plain.then_some(Self { decision: verdict.decision, sides })
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
        let start = out.len();
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
        text::escape(out, start);
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
        out.extend_from_slice(text.as_bytes());
        Ok(masked)
    }

    /// What follows a pod's address.
    fn pod(
        &mut self,
        pod: &Arc<Pod>,
        container: Option<&str>,
        whose: &Whose,
        labelling: &Labelling,
    ) -> Result<(&str, bool), Error> {
        let key = Arc::as_ptr(pod).addr();
        if self.pods.len() >= MOST && !self.pods.contains_key(&key) {
            self.pods.clear();
        }
        let known = self.pods.entry(key).or_insert_with(|| {
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
                let whole = serde_json::to_string(&end)?;
                let rest = whole.strip_prefix(POD).unwrap_or_default();
                known.texts.push((container.map(str::to_owned), whose.clone(), rest.into()));
                known.texts.len() - 1
            }
        };
        Ok((known.texts.get(place).map_or("}", |(.., text)| text), known.masked))
    }

    fn append_verdict(&mut self, out: &mut Vec<u8>, verdict: &Verdict) -> Result<(), Error> {
        let Some(key) = VerdictKey::of(verdict) else {
            return json::append(out, &VerdictPart::of(verdict, &Shortening::none()));
        };
        let known = match self.verdicts.get(&key) {
            Some(known) => known,
            None => {
                if self.verdicts.len() >= MOST {
                    self.verdicts.clear();
                }
                let whole = serde_json::to_string(&VerdictPart::of(verdict, &Shortening::none()))?;
                // No text has quotes that are not escaped: it is the member itself that is found.
                let (text, _) = whole.split_once(SNAPSHOT).unwrap_or_default();
                let _held = [&verdict.egress, &verdict.ingress].map(|side| Arc::clone(&side.policies));
                self.verdicts.entry(key).or_insert(VerdictText { _held, text: text.into() })
            }
        };
        out.extend_from_slice(known.text.as_bytes());
        append(out, SNAPSHOT.as_bytes(), &verdict.snapshot)?;
        append(out, br#","as_of":"#, &Moment(verdict.as_of))?;
        if let Some(since) = verdict.stale_since {
            append(out, br#","stale_since":"#, &Moment(since))?;
        }
        if verdict.settling {
            out.extend_from_slice(br#","settling":true"#);
        }
        out.push(b'}');
        Ok(())
    }
}

/// Append a member of the object that is being written, which has others before it.
fn append<T: Serialize>(out: &mut Vec<u8>, name: &[u8], value: &T) -> Result<(), Error> {
    out.extend_from_slice(name);
    json::append(out, value)
}
