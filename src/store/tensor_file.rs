//! Writing arrays as safetensors, one after the other: no file is in memory as a whole.
//!
//! The library's own function writes a temporary file that nobody but the user may read, whatever the umask.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::error::StoreError;

/// An array in single precision, and where it belongs.
#[derive(Debug, Clone)]
pub struct NamedArray<'a> {
    /// Its name, unique in a file.
    pub name: &'a str,
    /// Its sizes; their product is the number of values.
    pub shape: Vec<usize>,
    /// Its values, the last dimension's next to each other.
    pub values: &'a [f32],
}

/// Writes arrays into a new file, flushed to the disk: to the byte what the safetensors library writes.
///
/// # Errors
/// Where the system refuses, or where a shape does not fit its values.
pub fn write_arrays(
    path: &Path,
    mut arrays: Vec<NamedArray<'_>>,
    metadata: Option<HashMap<String, String>>,
) -> Result<(), StoreError> {
    arrays.sort_by_key(|array| array.name);
    let header =
        header(&arrays, metadata).map_err(|reason| StoreError::Damaged { path: path.to_owned(), reason })?;
    let write = || -> io::Result<()> {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        for array in &arrays {
            file.write_all(bytemuck::cast_slice(array.values))?;
        }
        file.into_inner()?.sync_all()
    };
    write().map_err(StoreError::io("write", path))
}

/// What a file begins with after the header's length: JSON, filled up to a multiple of eight bytes.
fn header(arrays: &[NamedArray<'_>], metadata: Option<HashMap<String, String>>) -> Result<Vec<u8>, String> {
    let mut end = 0;
    let infos = arrays.iter().map(|array| {
        let start = end;
        end += size_of_val(array.values);
        let info = TensorInfo { dtype: Dtype::F32, shape: array.shape.clone(), data_offsets: (start, end) };
        (array.name.to_owned(), info)
    });
    let infos = infos.collect();
    let layout = Metadata::new(metadata, infos).map_err(|error| error.to_string())?;
    let mut json = serde_json::to_vec(&layout).map_err(|error| error.to_string())?;
    json.resize(json.len().next_multiple_of(8), b' ');
    Ok(json)
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;

    #[test]
    fn a_file_is_to_the_byte_what_the_library_writes() {
        let values: Vec<f32> = (0..24).map(|number| number as f32 / 7.0).collect();
        let arrays =
            [("layers.10.b", vec![2, 3]), ("a", vec![12]), ("layers.2.b", vec![1, 2, 3]), ("", vec![0])];
        let metadata = Some(HashMap::from([("format".to_owned(), "pt".to_owned())]));
        let path = tempfile::NamedTempFile::new().unwrap();
        for metadata in [None, metadata] {
            let named = |(name, shape): &(&'static str, Vec<usize>)| {
                let length = shape.iter().product::<usize>();
                NamedArray { name, shape: shape.clone(), values: &values[..length] }
            };
            write_arrays(path.path(), arrays.iter().map(named).collect(), metadata.clone()).unwrap();
            let view = |(name, shape): &(&'static str, Vec<usize>)| {
                let bytes = &bytemuck::cast_slice(&values)[..4 * shape.iter().product::<usize>()];
                (*name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
            };
            let expected = safetensors::serialize(arrays.iter().map(view), metadata).unwrap();
            assert_eq!(std::fs::read(path.path()).unwrap(), expected);
        }
    }

    #[test]
    fn a_shape_that_does_not_fit_its_values_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        let wrong = NamedArray { name: "a", shape: vec![2, 3], values: &[1.0; 5] };
        assert!(matches!(write_arrays(&path, vec![wrong], None), Err(StoreError::Damaged { .. })));
        assert!(!path.exists());
    }
}
