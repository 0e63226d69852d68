# FMA_SANITIZE: "" or a -fsanitize= list ("address;undefined", "thread").
set(FMA_SANITIZE "" CACHE STRING "Sanitizers, as a semicolon list")
if(FMA_SANITIZE)
  string(REPLACE ";" "," _sanitizers "${FMA_SANITIZE}")
  add_compile_options(-fsanitize=${_sanitizers} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${_sanitizers})
  add_compile_definitions(FMA_SANITIZED)
  # What a report needs, and no more: optimising instrumented code takes half of the time that all of this takes.
  set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O0 -g1 -DNDEBUG")
endif()

# The rooms where the tests spend their time are optimised all the same.
function(fma_optimise_sanitized target)
  if(FMA_SANITIZE)
    set_target_properties(${target} PROPERTIES DISABLE_PRECOMPILE_HEADERS ON)
    target_compile_options(${target} PRIVATE -O1)
  endif()
endfunction()
