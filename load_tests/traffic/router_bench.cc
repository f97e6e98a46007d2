// What one request costs the router's process in CPU time at 8k-token prompts: tokenising, keys, planning, and 64
// tokens streamed through. Pool, workers and clients live in another process and do next to nothing. The baseline is
// what every request costs, whatever its prompt: the same with a prompt of one token.
#include <grpcpp/create_channel.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/random.h"
#include "common/model/model_folder.h"
#include "load_tests/support/report.h"
#include "services/router/router_rpc.h"
#include "services/rpc/metrics.h"
#include "services/rpc/server.h"
#include "tests/services/router/fake_fleet.h"
#include "tests/support/paths/paths.h"

namespace decant {
namespace {

constexpr int kPromptTokens = 8192;
constexpr int kAnswerTokens = 64;
enum Prompt : char { kText, kIds, kOneToken };

RouterModel ModelOf(const ModelFolder& folder) {
  RouterModel model;
  model.name = folder.config.name;
  model.fingerprint = folder.fingerprint;
  model.geometry = folder.config.geometry();
  model.max_positions = 2 * kPromptTokens;  // the tiny model has fewer, which nobody here computes with
  model.vocabulary = folder.config.vocabulary;
  model.end_tokens = folder.config.end_tokens;
  model.tokenizer = folder.tokenizer.get();
  model.profiles = {"full", "k8v4"};
  return model;
}

// Words that differ, so that no memory of words does the tokeniser's work.
std::string TextOf(const Tokenizer& tokenizer) {
  std::string text;
  for (uint64_t i = 0;; ++i) {
    for (int word = 0; word < 64; ++word) {
      const uint64_t bits = MixBits(7, 64 * i + static_cast<uint64_t>(word));
      for (uint64_t letter = 0; letter < 2 + bits % 7; ++letter) {
        text += static_cast<char>('a' + (bits >> (8 + 5 * letter)) % 26);
      }
      text += ' ';
    }
    if (tokenizer.Encode(text)->size() >= kPromptTokens) return text;
  }
}

std::string ReadAddress(int from) {
  std::array<char, 64> buffer{};
  DECANT_CHECK(read(from, buffer.data(), buffer.size() - 1) > 0);
  return std::string(buffer.data());
}

// The rest of the world. Writes the pool's address, reads the router's, then answers every command - a Prompt and a
// number of requests - with one byte when the requests have ended. Ends when the router does.
[[noreturn]] void RunWorld(const ModelFolder& folder, int from_router, int to_router) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const RouterModel model = ModelOf(folder);
  Seen seen;
  Script script;
  script.token = [](int64_t position) { return static_cast<int32_t>(100 + position % 1000); };
  FakePool pool_service(seen);
  ServerOptions options;
  options.services = {&pool_service};
  const auto pool = *Server::Start(options);
  DECANT_CHECK(write(to_router, pool->address().c_str(), pool->address().size() + 1) > 0);
  const auto stub =
      v1::Generation::NewStub(grpc::CreateChannel(ReadAddress(from_router), grpc::InsecureChannelCredentials()));
  FakeWorker prefill(model, v1::WORKER_KIND_PREFILL, seen, script);
  FakeWorker decode(model, v1::WORKER_KIND_DECODE, seen, script);
  for (const FakeWorker* worker : {&prefill, &decode}) {
    v1::RegisterRequest request;
    request.set_address(worker->address());
    request.set_kind(worker->kind());
    v1::RegisterReply reply;
    grpc::ClientContext context;
    DECANT_CHECK(stub->Register(&context, request, &reply).ok());
  }
  const std::string text = TextOf(*folder.tokenizer);
  DECANT_CHECK(write(to_router, "r", 1) == 1);
  std::array<char, 2> command{};
  while (read(from_router, command.data(), 2) == 2) {
    v1::GenerateRequest request;
    request.set_max_tokens(kAnswerTokens);
    if (command[0] == kText) request.set_text(text);
    for (int i = 0; command[0] != kText && i < (command[0] == kIds ? kPromptTokens : 1); ++i) {
      request.mutable_token_ids()->add_ids(100 + i % 1000);
    }
    for (int i = 0; i < command[1]; ++i) {
      grpc::ClientContext context;
      const auto stream = stub->Generate(&context, request);
      v1::GenerateEvent event;
      while (stream->Read(&event)) {
      }
      const grpc::Status status = stream->Finish();
      DECANT_CHECK_MSG(status.ok(), "%s", status.error_message().c_str());
    }
    DECANT_CHECK(write(to_router, "d", 1) == 1);
  }
  _exit(0);
}

int Run(LoadTestFlags flags) {
  auto folder = OpenModelFolder(SourceDir() + "/deploy/models/decant-tiny");
  DECANT_CHECK_MSG(folder.ok(), "%s", std::string(folder.status().message()).c_str());
  std::array<int, 2> down{};
  std::array<int, 2> up{};
  DECANT_CHECK(pipe(down.data()) == 0 && pipe(up.data()) == 0);
  const pid_t world = fork();  // before gRPC has threads
  DECANT_CHECK(world >= 0);
  if (world == 0) {
    close(down[1]);
    close(up[0]);
    RunWorld(*folder, down[0], up[1]);
  }
  close(down[0]);
  close(up[1]);

  Metrics metrics;
  RouterNodeOptions options;
  options.model = ModelOf(*folder);
  options.pool = ReadAddress(up[0]);
  RouterNode node(options, metrics);
  ServerOptions server_options;
  server_options.services = {&node};
  const auto server = *Server::Start(server_options);
  DECANT_CHECK(write(down[1], server->address().c_str(), server->address().size() + 1) > 0);
  char done = 0;
  DECANT_CHECK(read(up[0], &done, 1) == 1);

  const char requests = flags.quick ? 4 : 32;
  const auto milliseconds_of = [&](Prompt prompt) {
    return [&, prompt] {
      const double before = CpuSeconds();
      const std::array<char, 2> command{prompt, requests};
      DECANT_CHECK(write(down[1], command.data(), 2) == 2);
      DECANT_CHECK_MSG(read(up[0], &done, 1) == 1, "the other process has ended");
      return 1000 * (CpuSeconds() - before) / requests;
    };
  };
  const auto rounds = InterleavedRounds(flags.quick ? 3 : 7,
                                        {milliseconds_of(kText), milliseconds_of(kIds), milliseconds_of(kOneToken)});
  Report report(flags);
  const double least = Median(rounds[kOneToken]);
  report.Add("router_cpu_per_request_8k_text", Median(rounds[kText]), "ms", least,
             MedianRatio(rounds[kText], rounds[kOneToken]));
  report.Add("router_cpu_per_request_8k_ids", Median(rounds[kIds]), "ms", least,
             MedianRatio(rounds[kIds], rounds[kOneToken]));
  report.Add("router_cpu_per_request_1_token", least, "ms");
  close(down[1]);
  waitpid(world, nullptr, 0);
  return report.Finish();
}

}  // namespace
}  // namespace decant

int main(int argc, char** argv) { return decant::Run(decant::ParseLoadTestFlags(argc, argv)); }
