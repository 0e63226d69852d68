# The CUDA backend's sources that compile in both worlds: nvcc and the host compiler for
# libfma_cuda.so, the host compiler alone for the block emulator (tests/kernels).
set(_folder ${CMAKE_CURRENT_LIST_DIR})
# The folders of headers.
set(FMA_CUDA_FOLDERS
  ${_folder} ${_folder}/attention ${_folder}/dense ${_folder}/encoder ${_folder}/runtime ${_folder}/sampling)
set(FMA_CUDA_KERNELS
  ${_folder}/attention/attention.cu
  ${_folder}/attention/opened_units.cu
  ${_folder}/attention/prefill.cu
  ${_folder}/attention/report_shares.cu
  ${_folder}/attention/selected_tokens.cu
  ${_folder}/dense/dense.cu
  ${_folder}/dense/integers.cu
  ${_folder}/encoder/encoder.cu
  ${_folder}/sampling/sampling.cu)
set(FMA_CUDA_HOST_SOURCES
  ${_folder}/archive_group.cc
  ${_folder}/attention/attention_plan.cc
  ${_folder}/attention/attention_weights.cc
  ${_folder}/attention/slot_bytes.cc
  ${_folder}/cuda_backend.cc
  ${_folder}/dense/integer_weights.cc
  ${_folder}/dense/weights.cc
  ${_folder}/encoder/encoder_operation.cc
  ${_folder}/executor.cc
  ${_folder}/fusion.cc
  ${_folder}/graph_cache.cc
  ${_folder}/sampling/sampling.cc
  ${_folder}/step_data.cc
  ${_folder}/tentative_rows.cc
  ${_folder}/transfer.cc
  ${_folder}/unit_cache.cc)
