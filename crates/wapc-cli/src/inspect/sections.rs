//! The sections of a module, read without validation.

use std::collections::HashMap;

use wapc_host::error::ModuleError;
use wasmparser::{
    BinaryReaderError, CompositeInnerType, CustomSectionReader, Encoding, Export, FromReader,
    FuncType, Import, Imports, KnownCustom, MemoryType, Name, NameSectionReader, Parser, Payload,
    ProducersSectionReader, SectionLimited, TableType, TypeRef,
};

use super::report::{Producer, TargetFeature};

/// The contents of a module's sections. Indices may be out of bounds.
#[derive(Default)]
pub(super) struct Sections<'m> {
    /// `None` for types of other things than functions.
    pub(super) types: Vec<Option<FuncType>>,
    pub(super) imports: ImportGroups<'m>,
    /// The type of each function, imported ones first.
    pub(super) functions: Vec<u32>,
    pub(super) imported_functions: usize,
    pub(super) tables: Vec<TableType>,
    pub(super) imported_tables: usize,
    pub(super) memories: Vec<MemoryType>,
    pub(super) imported_memories: usize,
    pub(super) exports: Vec<Export<'m>>,
    pub(super) start: Option<u32>,
    pub(super) code_bytes: u32,
    pub(super) custom: CustomSections<'m>,
}

impl<'m> Sections<'m> {
    pub(super) fn read(binary: &'m [u8]) -> Result<Self, ModuleError> {
        let mut sections = Self::default();
        for payload in Parser::new(0).parse_all(binary) {
            sections.add(payload.map_err(invalid)?)?;
        }
        Ok(sections)
    }

    fn add(&mut self, payload: Payload<'m>) -> Result<(), ModuleError> {
        match payload {
            Payload::Version { encoding, .. } => match encoding {
                Encoding::Module => Ok(()),
                Encoding::Component => Err(ModuleError::Component),
            },
            Payload::TypeSection(section) => {
                for group in section {
                    let types = group.map_err(invalid)?.into_types();
                    self.types
                        .extend(types.map(|ty| match ty.composite_type.inner {
                            CompositeInnerType::Func(function) => Some(function),
                            CompositeInnerType::Array(_)
                            | CompositeInnerType::Struct(_)
                            | CompositeInnerType::Cont(_) => None,
                        }));
                }
                Ok(())
            }
            Payload::ImportSection(section) => section
                .into_iter()
                .try_for_each(|imports| self.add_imports(imports?))
                .map_err(invalid),
            Payload::FunctionSection(section) => extend(&mut self.functions, section),
            Payload::TableSection(section) => {
                for table in section {
                    self.tables.push(table.map_err(invalid)?.ty);
                }
                Ok(())
            }
            Payload::MemorySection(section) => extend(&mut self.memories, section),
            Payload::ExportSection(section) => extend(&mut self.exports, section),
            Payload::StartSection { func, .. } => {
                self.start = Some(func);
                Ok(())
            }
            Payload::CodeSectionStart { size, .. } => {
                self.code_bytes = size;
                Ok(())
            }
            Payload::CustomSection(section) => {
                self.custom.add(&section);
                Ok(())
            }
            Payload::TagSection(_)
            | Payload::GlobalSection(_)
            | Payload::ElementSection(_)
            | Payload::DataCountSection { .. }
            | Payload::DataSection(_)
            | Payload::CodeSectionEntry(_)
            | Payload::End(_) => Ok(()),
            other => Err(ModuleError::Invalid {
                reason: "a section of another kind than modules have".to_owned(),
                offset: other.as_section().map_or(0, |(_, range)| range.start),
            }),
        }
    }

    fn add_imports(&mut self, imports: Imports<'m>) -> Result<(), BinaryReaderError> {
        match imports {
            Imports::Single(_, Import { module, name, ty }) => {
                self.add_group(module, [Ok((name, ty))])
            }
            Imports::Compact1 { module, items } => self.add_group(
                module,
                items
                    .into_iter()
                    .map(|item| item.map(|it| (it.name, it.ty))),
            ),
            Imports::Compact2 { module, ty, names } => {
                self.add_group(module, names.into_iter().map(|name| Ok((name?, ty))))
            }
        }
    }

    fn add_group(
        &mut self,
        module: &'m str,
        items: impl IntoIterator<Item = Result<(&'m str, TypeRef), BinaryReaderError>>,
    ) -> Result<(), BinaryReaderError> {
        let group = self.imports.group(module);
        for item in items {
            let (name, ty) = item?;
            match ty {
                TypeRef::Func(index) | TypeRef::FuncExact(index) => {
                    self.functions.push(index);
                    self.imported_functions += 1;
                }
                TypeRef::Table(table) => {
                    self.tables.push(table);
                    self.imported_tables += 1;
                }
                TypeRef::Memory(memory) => {
                    self.memories.push(memory);
                    self.imported_memories += 1;
                }
                TypeRef::Global(_) | TypeRef::Tag(_) => {}
            }
            group.push((name, ty));
        }
        Ok(())
    }
}

/// Imports by module, in the order of each module's first one.
#[derive(Default)]
pub(super) struct ImportGroups<'m> {
    order: Vec<&'m str>,
    groups: HashMap<&'m str, Vec<(&'m str, TypeRef)>>,
}

impl<'m> ImportGroups<'m> {
    fn group(&mut self, module: &'m str) -> &mut Vec<(&'m str, TypeRef)> {
        self.groups.entry(module).or_insert_with(|| {
            self.order.push(module);
            Vec::new()
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'m str, &[(&'m str, TypeRef)])> {
        self.order
            .iter()
            .filter_map(|module| Some((*module, self.groups.get(module)?.as_slice())))
    }
}

/// The contents of the custom sections. None of them can make a module invalid.
#[derive(Default)]
pub(super) struct CustomSections<'m> {
    /// Names and sizes.
    pub(super) sizes: Vec<(&'m str, usize)>,
    pub(super) producers: Vec<Producer>,
    pub(super) target_features: Vec<TargetFeature>,
    pub(super) has_names: bool,
    pub(super) module_name: Option<&'m str>,
    pub(super) named_functions: usize,
    /// One note for each section that cannot be decoded.
    pub(super) notes: Vec<String>,
}

impl<'m> CustomSections<'m> {
    fn add(&mut self, section: &CustomSectionReader<'m>) {
        self.sizes.push((section.name(), section.data().len()));
        let read = match section.as_known() {
            KnownCustom::Name(names) => self.add_names(names),
            KnownCustom::Producers(producers) => self.add_producers(producers),
            // The report has only the sizes of the others.
            _ if section.name() == "target_features" => self.add_target_features(section),
            _ => Ok(()),
        };
        if let Err(error) = read {
            self.notes.push(format!(
                "the custom section `{}` cannot be decoded: {error}",
                section.name()
            ));
        }
    }

    fn add_names(&mut self, section: NameSectionReader<'m>) -> Result<(), BinaryReaderError> {
        self.has_names = true;
        for name in section {
            match name? {
                Name::Module { name, .. } => self.module_name = Some(name),
                Name::Function(names) => {
                    for naming in names {
                        naming?;
                        self.named_functions += 1;
                    }
                }
                // The report has no names of other things.
                _ => {}
            }
        }
        Ok(())
    }

    fn add_producers(
        &mut self,
        section: ProducersSectionReader<'m>,
    ) -> Result<(), BinaryReaderError> {
        for field in section {
            let field = field?;
            for value in field.values {
                let value = value?;
                self.producers.push(Producer {
                    field: field.name.to_owned(),
                    name: value.name.to_owned(),
                    version: value.version.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Source: <https://github.com/WebAssembly/tool-conventions/blob/main/Linking.md#target-features-section>.
    fn add_target_features(
        &mut self,
        section: &CustomSectionReader<'m>,
    ) -> Result<(), BinaryReaderError> {
        let mut reader = section.data_reader();
        for _ in 0..reader.read_var_u32()? {
            let used = reader.read_u8()? != b'-';
            let name = reader.read_string()?.to_owned();
            self.target_features.push(TargetFeature { name, used });
        }
        Ok(())
    }
}

fn extend<'m, T: FromReader<'m>>(
    all: &mut Vec<T>,
    section: SectionLimited<'m, T>,
) -> Result<(), ModuleError> {
    for item in section {
        all.push(item.map_err(invalid)?);
    }
    Ok(())
}

fn invalid(error: BinaryReaderError) -> ModuleError {
    ModuleError::Invalid {
        reason: error.message().to_owned(),
        offset: error.offset(),
    }
}
