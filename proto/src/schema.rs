//! Which fields each message has and what is in them, for code that walks messages before they are decoded.

use std::mem::size_of;

use Part::{Name, Of, Plain, Raw, Text};
use prost::Message;

use crate::onnx::*;

/// A message's fields.
#[derive(Debug)]
pub struct Schema {
    /// Name in `onnx.proto`, without the package.
    pub name: &'static str,
    /// Bytes that an empty one takes once it is decoded.
    pub size: usize,
    /// Numbers and contents, ascending.
    pub fields: &'static [(u32, Part)],
}

/// What is in a field.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// Another message.
    Of(&'static Schema),
    /// A string that names something.
    Name,
    /// Any other string.
    Text,
    /// Bytes, which stay where they are.
    Raw,
    /// Numbers.
    Plain,
}

/// A message with a table.
pub trait Described: Message + Default {
    /// Its table.
    const SCHEMA: &'static Schema;

    /// A field of bytes that is worth writing without a copy, and the message without it.
    fn bulk(&self) -> Option<(u32, bytes::Bytes, Self)> {
        None
    }
}

impl Schema {
    /// What is in the field of this number; `None` for one that the schema does not know.
    pub fn part(&self, number: u32) -> Option<Part> {
        self.fields.binary_search_by_key(&number, |field| field.0).ok().map(|i| self.fields[i].1)
    }
}

macro_rules! tables {
    ($($table:ident: $message:ty = [$($field:expr),* $(,)?];)*) => {
        $(pub static $table: Schema = Schema {
            name: stringify!($message),
            size: size_of::<$message>(),
            fields: &[$($field),*],
        };)*
        /// Every table.
        #[cfg(test)]
        static ALL: &[&Schema] = &[$(&$table),*];
    };
}

tables! {
    MODEL: ModelProto = [(1, Plain), (2, Name), (3, Name), (4, Name), (5, Plain), (6, Text), (7, Of(&GRAPH)), (8, Of(&OPERATOR_SET_ID)), (14, Of(&STRING_STRING_ENTRY)), (20, Of(&TRAINING_INFO)), (25, Of(&FUNCTION)), (26, Of(&DEVICE_CONFIGURATION))];
    GRAPH: GraphProto = [(1, Of(&NODE)), (2, Name), (5, Of(&TENSOR)), (10, Text), (11, Of(&VALUE_INFO)), (12, Of(&VALUE_INFO)), (13, Of(&VALUE_INFO)), (14, Of(&TENSOR_ANNOTATION)), (15, Of(&SPARSE_TENSOR)), (16, Of(&STRING_STRING_ENTRY))];
    FUNCTION: FunctionProto = [(1, Name), (4, Name), (5, Name), (6, Name), (7, Of(&NODE)), (8, Text), (9, Of(&OPERATOR_SET_ID)), (10, Name), (11, Of(&ATTRIBUTE)), (12, Of(&VALUE_INFO)), (13, Name), (14, Of(&STRING_STRING_ENTRY))];
    NODE: NodeProto = [(1, Name), (2, Name), (3, Name), (4, Name), (5, Of(&ATTRIBUTE)), (6, Text), (7, Name), (8, Name), (9, Of(&STRING_STRING_ENTRY)), (10, Of(&NODE_DEVICE_CONFIGURATION))];
    ATTRIBUTE: AttributeProto = [(1, Name), (2, Plain), (3, Plain), (4, Raw), (5, Of(&TENSOR)), (6, Of(&GRAPH)), (7, Plain), (8, Plain), (9, Raw), (10, Of(&TENSOR)), (11, Of(&GRAPH)), (13, Text), (14, Of(&TYPE)), (15, Of(&TYPE)), (20, Plain), (21, Name), (22, Of(&SPARSE_TENSOR)), (23, Of(&SPARSE_TENSOR))];
    TENSOR: TensorProto = [(1, Plain), (2, Plain), (3, Of(&TENSOR_SEGMENT)), (4, Plain), (5, Plain), (6, Raw), (7, Plain), (8, Name), (9, Raw), (10, Plain), (11, Plain), (12, Text), (13, Of(&STRING_STRING_ENTRY)), (14, Plain), (16, Of(&STRING_STRING_ENTRY))];
    SPARSE_TENSOR: SparseTensorProto = [(1, Of(&TENSOR)), (2, Of(&TENSOR)), (3, Plain)];
    VALUE_INFO: ValueInfoProto = [(1, Name), (2, Of(&TYPE)), (3, Text), (4, Of(&STRING_STRING_ENTRY))];
    TYPE: TypeProto = [(1, Of(&TYPE_TENSOR)), (4, Of(&TYPE_SEQUENCE)), (5, Of(&TYPE_MAP)), (6, Name), (7, Of(&TYPE_OPAQUE)), (8, Of(&TYPE_SPARSE_TENSOR)), (9, Of(&TYPE_OPTIONAL))];
    INT_INT_LIST_ENTRY: IntIntListEntryProto = [(1, Plain), (2, Plain)];
    NODE_DEVICE_CONFIGURATION: NodeDeviceConfigurationProto = [(1, Name), (2, Of(&SHARDING_SPEC)), (3, Plain)];
    SHARDING_SPEC: ShardingSpecProto = [(1, Name), (2, Plain), (3, Of(&INT_INT_LIST_ENTRY)), (4, Of(&SHARDED_DIM))];
    SHARDED_DIM: ShardedDimProto = [(1, Plain), (2, Of(&SIMPLE_SHARDED_DIM))];
    SIMPLE_SHARDED_DIM: SimpleShardedDimProto = [(1, Plain), (2, Name), (3, Plain)];
    TRAINING_INFO: TrainingInfoProto = [(1, Of(&GRAPH)), (2, Of(&GRAPH)), (3, Of(&STRING_STRING_ENTRY)), (4, Of(&STRING_STRING_ENTRY))];
    DEVICE_CONFIGURATION: DeviceConfigurationProto = [(1, Name), (2, Plain), (3, Name)];
    STRING_STRING_ENTRY: StringStringEntryProto = [(1, Text), (2, Text)];
    TENSOR_ANNOTATION: TensorAnnotation = [(1, Name), (2, Of(&STRING_STRING_ENTRY))];
    TENSOR_SEGMENT: tensor_proto::Segment = [(1, Plain), (2, Plain)];
    TENSOR_SHAPE_DIMENSION: tensor_shape_proto::Dimension = [(1, Plain), (2, Name), (3, Name)];
    TENSOR_SHAPE: TensorShapeProto = [(1, Of(&TENSOR_SHAPE_DIMENSION))];
    TYPE_TENSOR: type_proto::Tensor = [(1, Plain), (2, Of(&TENSOR_SHAPE))];
    TYPE_SEQUENCE: type_proto::Sequence = [(1, Of(&TYPE))];
    TYPE_MAP: type_proto::Map = [(1, Plain), (2, Of(&TYPE))];
    TYPE_OPTIONAL: type_proto::Optional = [(1, Of(&TYPE))];
    TYPE_SPARSE_TENSOR: type_proto::SparseTensor = [(1, Plain), (2, Of(&TENSOR_SHAPE))];
    TYPE_OPAQUE: type_proto::Opaque = [(1, Name), (2, Name)];
    OPERATOR_SET_ID: OperatorSetIdProto = [(1, Name), (2, Plain)];
}

macro_rules! described {
    ($($message:ty: $table:ident),* $(,)?) => {
        $(impl Described for $message { const SCHEMA: &'static Schema = &$table; })*
    };
}

described! {
    ModelProto: MODEL, NodeProto: NODE, SparseTensorProto: SPARSE_TENSOR, ValueInfoProto: VALUE_INFO,
    TensorAnnotation: TENSOR_ANNOTATION, StringStringEntryProto: STRING_STRING_ENTRY, FunctionProto: FUNCTION,
}

impl Described for TensorProto {
    const SCHEMA: &'static Schema = &TENSOR;

    fn bulk(&self) -> Option<(u32, bytes::Bytes, TensorProto)> {
        let raw = self.raw_data.clone().filter(|raw| raw.len() > 1 << 12)?;
        let rest = TensorProto {
            raw_data: None,
            dims: self.dims.clone(),
            data_type: self.data_type,
            segment: self.segment,
            name: self.name.clone(),
            doc_string: self.doc_string.clone(),
            external_data: self.external_data.clone(),
            data_location: self.data_location,
            metadata_props: self.metadata_props.clone(),
            float_data: self.float_data.clone(),
            int32_data: self.int32_data.clone(),
            string_data: self.string_data.clone(),
            int64_data: self.int64_data.clone(),
            double_data: self.double_data.clone(),
            uint64_data: self.uint64_data.clone(),
        };
        Some((9, raw, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The schema file itself, as its compiler reads it.
    #[test]
    fn tables_are_those_of_the_schema_file() {
        let root = env!("CARGO_MANIFEST_DIR");
        let files = protox::compile(["onnx.proto"], [root]).unwrap();
        let mut open: Vec<_> = files.file[0].message_type.iter().map(|m| (m.name().to_owned(), m)).collect();
        let mut seen = 0;
        while let Some((name, message)) = open.pop() {
            let table = ALL.iter().find(|t| rust(&name) == t.name.replace(' ', ""));
            let table = table.unwrap_or_else(|| panic!("no table of {name}"));
            let mut numbers: Vec<_> = message.field.iter().map(|f| f.number() as u32).collect();
            numbers.sort_unstable();
            assert_eq!(numbers, table.fields.iter().map(|f| f.0).collect::<Vec<_>>(), "{name}");
            for field in &message.field {
                let part = table.part(field.number() as u32).unwrap();
                assert_eq!(kind(part), wanted(field), "{name}.{}", field.name());
            }
            open.extend(message.nested_type.iter().map(|m| (format!("{name}.{}", m.name()), m)));
            seen += 1;
        }
        assert_eq!(seen, ALL.len());
    }

    fn rust(name: &str) -> String {
        let snake = |s: &str| match s {
            "TensorProto" => "tensor_proto",
            "TensorShapeProto" => "tensor_shape_proto",
            _ => "type_proto",
        };
        name.split_once('.').map_or(name.to_owned(), |(outer, inner)| format!("{}::{inner}", snake(outer)))
    }

    fn kind(part: Part) -> String {
        match part {
            Of(table) => table.name.replace(' ', ""),
            Name | Text => "string".into(),
            Raw => "bytes".into(),
            Plain => "number".into(),
        }
    }

    fn wanted(field: &prost_types::FieldDescriptorProto) -> String {
        use prost_types::field_descriptor_proto::Type;
        match field.r#type() {
            Type::Message => rust(field.type_name().trim_start_matches(".onnx.")),
            Type::String => "string".into(),
            Type::Bytes => "bytes".into(),
            _ => "number".into(),
        }
    }
}
