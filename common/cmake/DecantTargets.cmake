# The targets of the house: decant_library(name SRCS ... DEPS ... PRIVATE_DEPS ...), decant_binary, decant_test, decant_kernel_test, decant_bench,
# decant_proto. A library's name is its folder joined by underscores: common/kv is decant_common_kv.

add_library(decant_flags INTERFACE)
target_include_directories(decant_flags INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(decant_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -ffp-contract=off>
  # Reads ABSL_GUARDED_BY, which only clang knows.
  $<$<COMPILE_LANG_AND_ID:CXX,Clang>:-Wthread-safety>
  # Products and sums are rounded one by one, as on the host. What ptxas says of registers and spills is kept beside the object.
  "$<$<COMPILE_LANGUAGE:CUDA>:-fmad=false;-Werror=all-warnings;-Xptxas=-v;SHELL:-Xcompiler=-Wall,-Wextra>")
set(DECANT_CUDA_LAUNCHER sh ${PROJECT_SOURCE_DIR}/common/cmake/keep_ptxas.sh ${DECANT_CCACHE})

# The packages are not instrumented: what they order between threads is told to the thread sanitiser by every executable.
if(DECANT_SANITIZE MATCHES "thread" AND DECANT_TESTS)
  set(DECANT_EXECUTABLE_SRCS $<TARGET_OBJECTS:decant_tsan>)
endif()

# CUDA_SRCS are kernels (.cu), built where there is nvcc; DISPATCH_SRCS pick between them and the host's loops (gpu/device/dispatch.h). In every build
# with tests both are compiled as host C++ too: decant_kernels_on_launcher.
function(decant_library name)
  cmake_parse_arguments(ARG "" "" "SRCS;DISPATCH_SRCS;CUDA_SRCS;DEPS;PRIVATE_DEPS" ${ARGN})
  if(ARG_SRCS)
    add_library(${name} STATIC ${ARG_SRCS} ${ARG_DISPATCH_SRCS})
    foreach(source ${ARG_DISPATCH_SRCS} ${ARG_CUDA_SRCS})
      set_property(GLOBAL APPEND PROPERTY DECANT_LAUNCHER_SRCS ${CMAKE_CURRENT_SOURCE_DIR}/${source})
    endforeach()
    if(ARG_DISPATCH_SRCS OR ARG_CUDA_SRCS)
      set_property(GLOBAL APPEND PROPERTY DECANT_LAUNCHER_LIBS ${name})
    endif()
    if(DECANT_CUDA AND (ARG_DISPATCH_SRCS OR ARG_CUDA_SRCS))
      target_sources(${name} PRIVATE ${ARG_CUDA_SRCS})
      target_compile_definitions(${name} PRIVATE DECANT_WITH_CUDA)
      set_target_properties(${name} PROPERTIES CUDA_COMPILER_LAUNCHER "${DECANT_CUDA_LAUNCHER}")
    endif()
    target_link_libraries(${name} PUBLIC ${ARG_DEPS} PRIVATE decant_flags ${ARG_PRIVATE_DEPS})
    target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR})
  else()
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE ${ARG_DEPS})
    target_include_directories(${name} INTERFACE ${PROJECT_SOURCE_DIR})
  endif()
endfunction()

function(decant_binary name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SRCS} ${DECANT_EXECUTABLE_SRCS})
  target_link_libraries(${name} PRIVATE decant_flags ${ARG_DEPS})
endfunction()

# LABELS e2e, full (needs the SmolLM2 folder) or gpu; no label is the ordinary case.
function(decant_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SRCS;DEPS;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SRCS} ${DECANT_EXECUTABLE_SRCS})
  target_link_libraries(${name} PRIVATE decant_flags ${ARG_DEPS} decant_tests_support_paths GTest::gmock GTest::gtest_main)
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  if(DECANT_SANITIZE)
    math(EXPR ARG_TIMEOUT "${ARG_TIMEOUT} * 4")
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}")
endfunction()

# A test of operations that have CUDA kernels. Its cases take their device from tests/support/kernel_devices.h: NAME runs them on the test device and,
# in every warp order, on the launcher; where there is nvcc NAME_cuda runs them on a GPU, and is skipped where there is none.
function(decant_kernel_test name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  decant_test(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE decant_kernels_on_launcher)
  if(DECANT_CUDA)
    add_executable(${name}_cuda ${ARG_SRCS})
    target_link_libraries(${name}_cuda PRIVATE decant_flags ${ARG_DEPS} decant_tests_cuda_main decant_tests_support_paths
      GTest::gmock GTest::gtest)
    add_test(NAME ${name}_cuda COMMAND ${name}_cuda)
    set_tests_properties(${name}_cuda PROPERTIES TIMEOUT 300 LABELS gpu SKIP_RETURN_CODE 77)
  endif()
endfunction()

function(decant_bench name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SRCS} ${DECANT_EXECUTABLE_SRCS})
  target_link_libraries(${name} PRIVATE decant_flags ${ARG_DEPS} decant_tests_support_paths)
endfunction()

# One protoc run for all files of a package; paths are relative to the folder proto/.
function(decant_proto name)
  set(root ${PROJECT_SOURCE_DIR}/proto)
  set(generated ${PROJECT_BINARY_DIR}/generated)
  file(MAKE_DIRECTORY ${generated})
  set(outputs)
  set(inputs)
  foreach(file ${ARGN})
    string(REGEX REPLACE "\\.proto$" "" stem ${file})
    list(APPEND inputs ${root}/${file})
    list(APPEND outputs ${generated}/${stem}.pb.h ${generated}/${stem}.pb.cc ${generated}/${stem}.grpc.pb.h ${generated}/${stem}.grpc.pb.cc)
  endforeach()
  add_custom_command(OUTPUT ${outputs}
    COMMAND protobuf::protoc --cpp_out=${generated} --grpc_out=${generated}
            --plugin=protoc-gen-grpc=$<TARGET_FILE:gRPC::grpc_cpp_plugin> -I ${root} ${inputs}
    DEPENDS ${inputs} protobuf::protoc gRPC::grpc_cpp_plugin VERBATIM)
  add_library(${name} STATIC ${outputs})
  target_include_directories(${name} SYSTEM PUBLIC ${generated})
  target_link_libraries(${name} PUBLIC gRPC::grpc++ protobuf::libprotobuf)
endfunction()
