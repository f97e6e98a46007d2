// libgrpc hands calls from thread to thread by atomics, which in a library that is not instrumented the thread
// sanitiser cannot see. As in absl_synchronization.cc, these say what is handed over: whoever starts a batch to whoever
// its tag is delivered to, and all reactions of a call to OnCancel and OnDone.
#include <grpc/grpc.h>
#include <grpcpp/support/server_callback.h>
#include <sanitizer/tsan_interface.h>

#include <atomic>

#include "tests/support/tsan/next.h"

using decant::Next;

extern "C" {

grpc_call_error grpc_call_start_batch(grpc_call* call, const grpc_op* ops, size_t nops, void* tag, void* reserved) {
  static const auto next = Next<decltype(&grpc_call_start_batch)>("grpc_call_start_batch");
  __tsan_release(tag);
  return next(call, ops, nops, tag, reserved);
}

grpc_event grpc_completion_queue_next(grpc_completion_queue* queue, gpr_timespec deadline, void* reserved) {
  static const auto next = Next<decltype(&grpc_completion_queue_next)>("grpc_completion_queue_next");
  const grpc_event event = next(queue, deadline, reserved);
  if (event.type == GRPC_OP_COMPLETE) __tsan_acquire(event.tag);
  return event;
}

grpc_event grpc_completion_queue_pluck(grpc_completion_queue* queue, void* tag, gpr_timespec deadline, void* reserved) {
  static const auto next = Next<decltype(&grpc_completion_queue_pluck)>("grpc_completion_queue_pluck");
  const grpc_event event = next(queue, tag, deadline, reserved);
  if (event.type == GRPC_OP_COMPLETE) __tsan_acquire(event.tag);
  return event;
}
}

namespace grpc::internal {
namespace {

// The two counters of a ServerCallbackCall, behind its vptr: what is left before OnCancel, and before OnDone. Part of
// the counting is done here, in gRPC's headers, and part in the library.
void AcquireCounters(ServerCallbackCall* call) {
  auto* counters = reinterpret_cast<std::atomic_int*>(reinterpret_cast<char*>(call) + sizeof(void*));
  __tsan_acquire(&counters[0]);
  __tsan_acquire(&counters[1]);
}

}  // namespace

void ServerCallbackCall::ScheduleOnDone(bool inline_ondone) {
  static const auto next =
      Next<void (*)(ServerCallbackCall*, bool)>("_ZN4grpc8internal18ServerCallbackCall14ScheduleOnDoneEb");
  AcquireCounters(this);
  next(this, inline_ondone);
}

void ServerCallbackCall::CallOnCancel(ServerReactor* reactor) {
  static const auto next = Next<void (*)(ServerCallbackCall*, ServerReactor*)>(
      "_ZN4grpc8internal18ServerCallbackCall12CallOnCancelEPNS0_13ServerReactorE");
  AcquireCounters(this);
  next(this, reactor);
}

}  // namespace grpc::internal
