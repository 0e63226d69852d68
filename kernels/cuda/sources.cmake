# The CUDA backend's sources that compile in both worlds: nvcc and the host compiler for
# libfma_cuda.so, the host compiler alone for the block emulator (tests/kernels).
set(_folder ${CMAKE_CURRENT_LIST_DIR})
# The folders of headers, and the one header of the CPU backend that holds for both.
set(FMA_CUDA_FOLDERS ${_folder} ${_folder}/../cpu/scalar.h)
set(FMA_CUDA_KERNELS
  ${_folder}/attention.cu
  ${_folder}/dense.cu
  ${_folder}/prefill.cu
  ${_folder}/sampling.cu)
set(FMA_CUDA_HOST_SOURCES
  ${_folder}/attention_plan.cc
  ${_folder}/attention_weights.cc
  ${_folder}/cuda_backend.cc
  ${_folder}/executor.cc
  ${_folder}/fusion.cc
  ${_folder}/graph_cache.cc
  ${_folder}/sampling.cc
  ${_folder}/slot_bytes.cc
  ${_folder}/step_data.cc
  ${_folder}/weights.cc)
