//! Samples that are vectors (or tensors) of numbers in memory.

/// Rows of numbers, all of one shape.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Table {
    shape: Vec<usize>,
    width: usize,
    data: Vec<f32>,
}

/// What turns the columns of a table into standardised ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns {
    /// Columns that are kept: those that are not constant.
    pub kept: Vec<usize>,
    /// Mean of each that is kept.
    pub mean: Vec<f64>,
    /// Deviation (with n − 1) of each that is kept.
    pub deviation: Vec<f64>,
}

impl Table {
    /// A table of rows of this shape; `None` if the numbers are not whole rows, or rows are empty.
    pub fn new(shape: Vec<usize>, data: Vec<f32>) -> Option<Table> {
        let width = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size))?;
        (width > 0 && data.len().is_multiple_of(width)).then_some(Table { shape, width, data })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.data.len() / self.width
    }

    /// Shape of a row.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// A row below `len`.
    pub fn row(&self, row: u32) -> &[f32] {
        let from = row as usize * self.width;
        &self.data[from..from + self.width]
    }

    /// Both, one behind the other; `None` if their rows differ in shape.
    pub fn joined(mut self, other: Table) -> Option<Table> {
        (self.shape == other.shape).then(|| self.data.extend(other.data))?;
        Some(self)
    }

    /// Mean and deviation of the columns of all rows.
    pub fn columns(&self) -> Columns {
        let rows = self.len() as f64;
        let mut mean = vec![0.0; self.width];
        self.each(|column, value| mean[column] += value);
        mean.iter_mut().for_each(|sum| *sum /= rows.max(1.0));
        let mut squares = vec![0.0; self.width];
        self.each(|column, value| squares[column] += (value - mean[column]).powi(2));
        let deviation: Vec<_> = squares.iter().map(|sum| (sum / (rows - 1.0).max(1.0)).sqrt()).collect();
        let kept: Vec<_> = (0..self.width).filter(|column| self.varies(*column)).collect();
        let pick = |all: &[f64]| kept.iter().map(|column| all[*column]).collect();
        Columns { mean: pick(&mean), deviation: pick(&deviation), kept }
    }

    /// The rows with standardised columns.
    pub fn standardised(&self, columns: &Columns) -> Table {
        let Columns { kept, mean, deviation } = columns;
        let of_row = |row: &[f32]| -> Vec<f32> {
            let scaled = kept.iter().zip(mean).zip(deviation);
            scaled.map(|((column, mean), deviation)| ((f64::from(row[*column]) - mean) / deviation) as f32).collect()
        };
        let data = self.data.chunks_exact(self.width).flat_map(of_row).collect();
        Table { shape: vec![kept.len()], width: kept.len(), data }
    }

    fn varies(&self, column: usize) -> bool {
        let mut values = self.data.iter().skip(column).step_by(self.width);
        let first = values.next();
        values.any(|value| Some(value) != first)
    }

    fn each(&self, mut visit: impl FnMut(usize, f64)) {
        for row in self.data.chunks_exact(self.width) {
            row.iter().enumerate().for_each(|(column, value)| visit(column, f64::from(*value)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_standardised_with_n_minus_1_and_constant_ones_go() {
        let table = Table::new(vec![3], vec![1.0, 7.0, 10.0, 3.0, 7.0, 20.0, 5.0, 7.0, 60.0]).unwrap();
        let columns = table.columns();
        assert_eq!(columns.kept, [0, 2]);
        assert_eq!((columns.mean[0], columns.deviation[0], columns.mean[1]), (3.0, 2.0, 30.0));
        let scaled = table.standardised(&columns);
        assert_eq!((scaled.shape(), scaled.len()), (&[2][..], 3));
        assert_eq!((scaled.row(0)[0], scaled.row(1)[0], scaled.row(2)[0]), (-1.0, 0.0, 1.0));
        assert!((scaled.row(2)[1] - 30.0 / 700f32.sqrt()).abs() < 1e-6);
    }

    #[test]
    fn rows_are_whole_and_not_empty() {
        assert!(Table::new(vec![2], vec![1.0; 3]).is_none());
        assert!(Table::new(vec![2, 0], vec![]).is_none());
        assert!(Table::new(vec![usize::MAX, 2], vec![]).is_none());
        assert_eq!(Table::new(vec![2], vec![]).unwrap().len(), 0);
    }
}
