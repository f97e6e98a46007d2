// transformers in a process of its own, asked for one measurement at a time, so that both engines run in turn.
#ifndef DECANT_LOAD_TESTS_ENGINE_TORCH_PEER_H_
#define DECANT_LOAD_TESTS_ENGINE_TORCH_PEER_H_

#include <sys/types.h>

#include <cstdio>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace decant {

class TorchPeer {
 public:
  // Null without DECANT_TORCH_PYTHON, or when that Python cannot load the model.
  static std::unique_ptr<TorchPeer> Start(const std::string& folder, int threads);
  ~TorchPeer();
  TorchPeer(const TorchPeer&) = delete;
  TorchPeer& operator=(const TorchPeer&) = delete;

  // What it is: versions, dtype and attention, without spaces.
  const std::string& name() const { return name_; }
  // Tokens per second of one round of "prefill TOKENS" or "decode BATCH CONTEXT STEPS".
  absl::StatusOr<double> Measure(const std::string& request);

 private:
  TorchPeer() = default;
  std::string ReadLine();

  pid_t child_ = -1;
  FILE* to_ = nullptr;
  FILE* from_ = nullptr;
  std::string name_;
};

}  // namespace decant

#endif  // DECANT_LOAD_TESTS_ENGINE_TORCH_PEER_H_
