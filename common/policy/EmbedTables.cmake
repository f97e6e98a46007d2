# cmake -DOUTPUT=file.cc "-DFILES=a.json;b.json" -P EmbedTables.cmake: the files as C++ string literals.
list(SORT FILES)
set(entries "")
foreach(file ${FILES})
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
