//! Which logs a client asks for: blocks, addresses, topics.
//!
//! Pure. The index of logs says which blocks may match; of a block that comes by, its bloom says
//! cheaply that nothing of it can. The blooms of the wanted addresses and topics are made once per
//! query.

use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{Address, B256, Bloom, BloomInput, Log};
use evenkeel_state::LogKey;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    methods::limits::{FILTER_ADDRESSES_MAX, FILTER_SUBTOPICS_MAX},
    params::{Arg, Refusal},
};

/// Positions of indexed topics in a log.
const TOPICS_MAX: usize = 4;

/// The blocks of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocks {
    /// From one to another, both included. Absent is the latest.
    Range { from: Option<BlockNumberOrTag>, to: Option<BlockNumberOrTag> },
    /// The block of this hash.
    Hash(B256),
}

/// One parsed log filter object.
#[derive(Clone, Debug)]
pub(crate) struct LogQuery {
    pub(crate) blocks: Blocks,
    /// Empty: any address.
    addresses: Vec<(Address, Bloom)>,
    /// By position; empty: any topic or none.
    topics: Vec<Vec<(B256, Bloom)>>,
}

impl LogQuery {
    /// Whether a block with this bloom may hold a match. False is certain.
    pub(crate) fn may_match(&self, bloom: &Bloom) -> bool {
        let is_there = |wanted: &Bloom| bloom.contains(wanted);
        (self.addresses.is_empty() || self.addresses.iter().any(|(_, wanted)| is_there(wanted)))
            && self
                .topics
                .iter()
                .filter(|any_of| !any_of.is_empty())
                .all(|any_of| any_of.iter().any(|(_, wanted)| is_there(wanted)))
    }

    /// What the logs can be found by: a key of each condition.
    pub(crate) fn conditions(&self) -> Vec<Vec<LogKey>> {
        let addresses = self.addresses.iter().map(|(address, _)| LogKey::Address(*address));
        let topics = (0..).zip(&self.topics).map(|(position, any_of)| {
            any_of.iter().map(|(topic, _)| LogKey::Topic(position, *topic)).collect()
        });
        let conditions = std::iter::once(addresses.collect()).chain(topics);
        conditions.filter(|any_of: &Vec<_>| !any_of.is_empty()).collect()
    }

    /// Whether `log` is asked for.
    pub(crate) fn matches(&self, log: &Log) -> bool {
        let topics = log.topics();
        if self.topics.len() > topics.len() {
            return false;
        }
        if !self.addresses.is_empty()
            && self.addresses.binary_search_by_key(&log.address, |(address, _)| *address).is_err()
        {
            return false;
        }
        self.topics.iter().zip(topics).all(|(any_of, topic)| {
            any_of.is_empty() || any_of.iter().any(|(wanted, _)| wanted == topic)
        })
    }
}

fn bloom_of(bytes: &[u8]) -> Bloom {
    let mut bloom = Bloom::default();
    bloom.accrue(BloomInput::Raw(bytes));
    bloom
}

impl Arg for LogQuery {
    fn parse(raw: &RawValue) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Object<'a> {
            #[serde(borrow)]
            from_block: Option<&'a RawValue>,
            #[serde(borrow)]
            to_block: Option<&'a RawValue>,
            #[serde(borrow)]
            block_hash: Option<&'a RawValue>,
            #[serde(borrow)]
            address: Option<&'a RawValue>,
            #[serde(borrow)]
            topics: Option<&'a RawValue>,
        }
        let object: Object<'_> =
            serde_json::from_str(raw.get()).map_err(|error| error.to_string())?;
        let blocks = match (object.block_hash, object.from_block, object.to_block) {
            (Some(hash), None, None) => Blocks::Hash(B256::parse(hash)?),
            (Some(_), _, _) => {
                return Err(
                    "cannot specify both BlockHash and FromBlock/ToBlock, choose one or the other"
                        .into(),
                );
            }
            (None, from, to) => Blocks::Range {
                from: from.map(BlockNumberOrTag::parse).transpose()?,
                to: to.map(BlockNumberOrTag::parse).transpose()?,
            },
        };
        Ok(Self {
            blocks,
            addresses: parse_addresses(object.address)?,
            topics: parse_topics(object.topics)?,
        })
    }
}

fn parse_addresses(raw: Option<&RawValue>) -> Result<Vec<(Address, Bloom)>, Refusal> {
    let mut addresses = match raw {
        None => Vec::new(),
        Some(raw) => one_or_many::<Address>(raw, FILTER_ADDRESSES_MAX, "exceed max addresses")?
            .into_iter()
            .flatten()
            .collect(),
    };
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses.into_iter().map(|address| (address, bloom_of(address.as_slice()))).collect())
}

fn parse_topics(raw: Option<&RawValue>) -> Result<Vec<Vec<(B256, Bloom)>>, Refusal> {
    let Some(raw) = raw else { return Ok(Vec::new()) };
    let positions: Vec<Option<&RawValue>> =
        serde_json::from_str(raw.get()).map_err(|error| format!("invalid topics: {error}"))?;
    if positions.len() > TOPICS_MAX {
        return Err("exceed max topics".into());
    }
    let mut topics = Vec::with_capacity(positions.len());
    for position in positions {
        let any_of = match position {
            None => Vec::new(),
            Some(raw) => {
                let any_of = one_or_many::<B256>(raw, FILTER_SUBTOPICS_MAX, "exceed max topics")?;
                // As in geth, a null among the alternatives lets every topic through.
                any_of.into_iter().collect::<Option<Vec<_>>>().unwrap_or_default()
            }
        };
        topics.push(any_of.into_iter().map(|topic| (topic, bloom_of(topic.as_slice()))).collect());
    }
    Ok(topics)
}

fn one_or_many<T: Arg>(
    raw: &RawValue,
    max: usize,
    too_many: &'static str,
) -> Result<Vec<Option<T>>, Refusal> {
    if !raw.get().starts_with('[') {
        return Ok(vec![Some(T::parse(raw)?)]);
    }
    let items: Vec<Option<&RawValue>> =
        serde_json::from_str(raw.get()).map_err(|error| error.to_string())?;
    if items.len() > max {
        return Err(too_many.into());
    }
    items.into_iter().map(|item| item.map(T::parse).transpose()).collect()
}
