// What every executable of the tsan preset asks of the sanitiser; TSAN_OPTIONS adds to it.

// gRPC, abseil and oneDNN are not instrumented: a memcpy or free inside them says nothing about the locks around it.
extern "C" const char* __tsan_default_options() { return "ignore_noninstrumented_modules=1:second_deadlock_stack=1"; }
