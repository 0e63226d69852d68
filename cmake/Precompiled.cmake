# Precompiled headers: the headers of libraries that most files include, parsed once for each kind
# of file instead of once for each file. The preset lint goes without.

# fma_precompiled(NAME LINKS... HEADERS...): a set of headers. The variable FMA_PRECOMPILED names the
# set of the targets of a folder.
function(fma_precompiled name)
  cmake_parse_arguments(ARG "" "" "LINKS;HEADERS" ${ARGN})
  set(source ${CMAKE_BINARY_DIR}/${name}.cc)
  file(CONFIGURE OUTPUT ${source} CONTENT "")
  add_library(${name} OBJECT ${source})
  target_link_libraries(${name} PRIVATE ${ARG_LINKS})
  target_compile_options(${name} PRIVATE ${FMA_WARNINGS})
  target_precompile_headers(${name} PRIVATE ${ARG_HEADERS})
endfunction()
