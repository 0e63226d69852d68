# Helpers that give every target of the project the same warnings, and the headers that it may see.
include(Rooms)
include(Precompiled)

set(FMA_WARNINGS -Wall -Wextra -Wpedantic -Werror)
# For every file, since it defines a macro and precompiled headers are for one set of these.
add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-pthread>)

# fma_library(NAME SOURCES... DEPENDS...): a static library of one folder.
function(fma_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC ${ARG_DEPENDS})
  target_compile_options(${name} PRIVATE ${FMA_WARNINGS})
  fma_show_folders_of(${name} PUBLIC ${ARG_SOURCES})
  target_precompile_headers(${name} REUSE_FROM ${FMA_PRECOMPILED})
endfunction()

# fma_program(NAME SOURCES... DEPENDS...): an executable, in build/<preset>/bin.
function(fma_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPENDS})
  target_compile_options(${name} PRIVATE ${FMA_WARNINGS})
  fma_show_folders_of(${name} PRIVATE ${ARG_SOURCES})
  target_precompile_headers(${name} REUSE_FROM ${FMA_PRECOMPILED})
endfunction()

# fma_test(NAME SOURCES... DEPENDS...): a GoogleTest program, one ctest entry per program.
function(fma_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  fma_program(${name} SOURCES ${ARG_SOURCES} DEPENDS ${ARG_DEPENDS} GTest::gtest_main GTest::gmock)
  target_compile_definitions(${name} PRIVATE FMA_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
                                             FMA_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}")
  add_test(NAME ${name} COMMAND ${name})
  # Tests ask for more memory than there is, and must be told so as without sanitizers. Tests that
  # memory does not grow must see what is freed.
  set_tests_properties(
    ${name} PROPERTIES ENVIRONMENT
    "ASAN_OPTIONS=allocator_may_return_null=1:quarantine_size_mb=4;TSAN_OPTIONS=allocator_may_return_null=1")
endfunction()
