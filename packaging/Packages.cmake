# CPack: `cpack -G DEB` makes a Debian package of each component, `cpack -G TGZ` one tarball of all.
set(CPACK_PACKAGE_NAME fma-server)
set(CPACK_PACKAGE_VENDOR "FMA Server")
set(CPACK_PACKAGE_CONTACT "FMA Server developers")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Inference server for Fast Multipole Attention transformers")
set(CPACK_RESOURCE_FILE_LICENSE ${CMAKE_SOURCE_DIR}/LICENSE)
set(CPACK_STRIP_FILES ON)
string(TOLOWER ${CMAKE_SYSTEM_NAME} _system)
set(CPACK_PACKAGE_FILE_NAME
    fma-server-${PROJECT_VERSION}-${_system}-${CMAKE_SYSTEM_PROCESSOR})

set(CPACK_COMPONENTS_ALL programs model dev)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)

set(CPACK_COMPONENT_PROGRAMS_DESCRIPTION
    "The server, and the fma tool.\nFast Multipole Attention keeps the state of a sequence in one small block of bytes, however long it is.")
set(CPACK_DEBIAN_PROGRAMS_PACKAGE_NAME fma-server)
set(CPACK_DEBIAN_PROGRAMS_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PROGRAMS_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PROGRAMS_PACKAGE_RECOMMENDS ca-certificates)
set(CPACK_DEBIAN_PROGRAMS_PACKAGE_SUGGESTS fma-model-books-11m)

set(CPACK_COMPONENT_MODEL_DESCRIPTION "The demo model, trained on old books.\n11 million parameters.")
set(CPACK_DEBIAN_MODEL_PACKAGE_NAME fma-model-books-11m)
set(CPACK_DEBIAN_MODEL_PACKAGE_SECTION science)
set(CPACK_DEBIAN_MODEL_PACKAGE_ARCHITECTURE all)

set(CPACK_COMPONENT_DEV_DESCRIPTION "The C++ client library.\nHeaders, protos and a package for CMake.")
set(CPACK_DEBIAN_DEV_PACKAGE_NAME libfma-client-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS "libabsl-dev, libgrpc++-dev, libprotobuf-dev, libssl-dev")

if(FMA_CUDA)
  list(APPEND CPACK_COMPONENTS_ALL cuda)
  set(CPACK_COMPONENT_CUDA_DESCRIPTION "The CUDA backend of the server.\nNeeds CUDA's libcublasLt.so.13.")
  set(CPACK_DEBIAN_CUDA_PACKAGE_NAME fma-server-cuda)
  set(CPACK_DEBIAN_CUDA_PACKAGE_SECTION net)
  set(CPACK_DEBIAN_CUDA_PACKAGE_DEPENDS "fma-server (= ${PROJECT_VERSION})")
endif()
include(CPack)
