# cmake -DOUTPUT=file.cc -DTABLES=folder -P EmbedTables.cmake: the folder's JSON files as C++ string literals.
file(GLOB files ${TABLES}/*.json)
list(SORT files)
set(entries "")
foreach(file ${files})
  get_filename_component(name ${file} NAME_WLE)
  file(READ ${file} text)
  string(APPEND entries "      {\"${name}\", R\"json(${text})json\"},\n")
endforeach()
file(WRITE ${OUTPUT} "#include \"common/policy/embedded_tables.h\"

namespace decant {

std::vector<EmbeddedTable> EmbeddedTables() {
  return {
${entries}  };
}

}  // namespace decant
")
