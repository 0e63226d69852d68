# FMA_SANITIZE: "" or a -fsanitize= list ("address;undefined", "thread").
set(FMA_SANITIZE "" CACHE STRING "Sanitizers, as a semicolon list")
if(FMA_SANITIZE)
  string(REPLACE ";" "," _sanitizers "${FMA_SANITIZE}")
  add_compile_options(-fsanitize=${_sanitizers} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${_sanitizers})
  add_compile_definitions(FMA_SANITIZED)
  # What a report needs, and no more: -O2 and whole debug information take twice the time.
  set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O1 -g1 -DNDEBUG")
endif()
