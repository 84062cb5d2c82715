//! A [`ChainSpec`] as the JSON that a database keeps, so that it can be opened without its flags.
//!
//! Complete where geth's genesis format is not: the spec that is read back has the same hash.

use alloy_eips::eip7840::BlobParams;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::spec::ChainSpec;

impl ChainSpec {
    /// The spec as JSON; [`from_json`](Self::from_json) reads it back.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("its keys are text and nothing in it can fail")
    }

    /// Reads what [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    ///
    /// When the text is not that.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

/// Blob parameters in full; alloy's own JSON leaves some out.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BlobRow {
    start: u64,
    target_blob_count: u64,
    max_blob_count: u64,
    update_fraction: u128,
    min_blob_fee: u128,
    max_blobs_per_tx: u64,
    blob_base_cost: u64,
}

pub(crate) fn serialize<S: Serializer>(
    blobs: &[(u64, BlobParams)],
    to: S,
) -> Result<S::Ok, S::Error> {
    to.collect_seq(blobs.iter().map(|(start, params)| BlobRow {
        start: *start,
        target_blob_count: params.target_blob_count,
        max_blob_count: params.max_blob_count,
        update_fraction: params.update_fraction,
        min_blob_fee: params.min_blob_fee,
        max_blobs_per_tx: params.max_blobs_per_tx,
        blob_base_cost: params.blob_base_cost,
    }))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Vec<(u64, BlobParams)>, D::Error> {
    let rows = Vec::<BlobRow>::deserialize(from)?;
    let read = |row: BlobRow| {
        let params = BlobParams {
            target_blob_count: row.target_blob_count,
            max_blob_count: row.max_blob_count,
            update_fraction: row.update_fraction,
            min_blob_fee: row.min_blob_fee,
            max_blobs_per_tx: row.max_blobs_per_tx,
            blob_base_cost: row.blob_base_cost,
        };
        (row.start, params)
    };
    Ok(rows.into_iter().map(read).collect())
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, U256};

    use crate::{ChainSpec, DevOptions};

    /// Goal: a database's spec is the chain's spec.
    #[test]
    fn a_spec_read_back_has_the_same_hash() {
        let accounts = vec![(Address::repeat_byte(7), U256::MAX)];
        let spec = ChainSpec::dev(&DevOptions { accounts, number: 3, ..DevOptions::default() });
        let read = ChainSpec::from_json(&spec.to_json()).expect("we wrote it");
        assert_eq!(read, spec);
        assert_eq!(read.hash(), spec.hash());
    }
}
