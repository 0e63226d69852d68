# FMA_BACKEND_ABI: a digest of the headers that a program and libfma_cuda.so share. Both are built
# with it as a macro, and a library of another digest is refused when it is loaded.
set(_abi_headers kernels/backend.h kernels/fma/attention_parts.h kernels/fma/weight_format.h
    kernels/fma/levels.h kernels/fma/slot_layout.h kernels/fma/spec.h kernels/sampling.h
    kernels/cuda_library.h)
set(_abi_text "")
foreach(_header IN LISTS _abi_headers)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${_header})
  file(READ ${CMAKE_SOURCE_DIR}/${_header} _text)
  string(APPEND _abi_text "${_text}")
endforeach()
string(SHA256 _abi "${_abi_text}")
string(SUBSTRING ${_abi} 0 16 FMA_BACKEND_ABI)
