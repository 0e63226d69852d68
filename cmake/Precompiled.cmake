# Precompiled headers: the headers of libraries that most files include, parsed once for each kind
# of file. They halve the time of a build. With FMA_PRECOMPILE off (the asan preset) every file must
# name what it uses, and nothing else differs.
option(FMA_PRECOMPILE "Precompile the headers of libraries" ON)

# fma_precompiled(NAME LINKS... HEADERS...): a set of headers; the set's targets name it by
# FMA_PRECOMPILED, a variable of their folder.
function(fma_precompiled name)
  cmake_parse_arguments(ARG "" "" "LINKS;HEADERS" ${ARGN})
  if(FMA_PRECOMPILE)
    set(source ${CMAKE_BINARY_DIR}/${name}.cc)
    file(CONFIGURE OUTPUT ${source} CONTENT "")
    add_library(${name} OBJECT ${source})
    target_link_libraries(${name} PRIVATE ${ARG_LINKS})
    target_compile_options(${name} PRIVATE ${FMA_WARNINGS})
    target_precompile_headers(${name} PRIVATE ${ARG_HEADERS})
  endif()
endfunction()

# fma_use_precompiled(TARGET): the set of the target's folder.
function(fma_use_precompiled target)
  if(FMA_PRECOMPILE)
    target_precompile_headers(${target} REUSE_FROM ${FMA_PRECOMPILED})
  endif()
endfunction()
