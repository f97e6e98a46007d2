#include <CLI/CLI.hpp>
#include <cstdio>

#include "services/prefill/app.h"
#include "services/rpc/exit_limit.h"
#include "services/rpc/log.h"
#include "services/rpc/stop_signal.h"

namespace decant {
namespace {

struct Arguments {
  std::string model;
  std::string dtype = "auto";
  int threads = 0;
  double drain_s = 20;
  std::string log_level = "info";
  PrefillAppOptions options;
};

absl::Status Serve(Arguments& arguments) {
  if (absl::Status log = StartLog("decant_prefill", arguments.log_level); !log.ok()) return log;
  auto stop = StopSignal::Create();
  if (!stop.ok()) return stop.status();
  auto model = LoadedModel::Load(arguments.model, arguments.dtype, arguments.threads);
  if (!model.ok()) return model.status();
  arguments.options.drain_limit = absl::Seconds(arguments.drain_s);
  auto app = PrefillApp::Create(*std::move(model), arguments.options);
  if (!app.ok()) return app.status();
  if (absl::Status started = (*app)->Start(); !started.ok()) return started;
  std::printf("ready prefill=%s metrics=%s\n", (*app)->address().c_str(), (*app)->metrics_address().c_str());
  std::fflush(stdout);
  (*stop)->Wait();
  const ExitLimit limit(arguments.options.drain_limit + kExitGrace);
  (*app)->Drain();
  app->reset();
  return absl::OkStatus();
}

}  // namespace
}  // namespace decant

int main(int argc, char** argv) {
  decant::Arguments arguments;
  CLI::App parser(
      "decant_prefill: computes prompts and pours their compressed KV into decode workers.\n"
      "Ready when it prints `ready prefill=HOST:PORT metrics=HOST:PORT`; SIGTERM drains.");
  parser.add_option("--model", arguments.model, "Hugging Face model folder")->required();
  parser.add_option("--router", arguments.options.router, "HOST:PORT of the router to register with");
  parser.add_option("--listen", arguments.options.listen, "HOST:PORT to serve on; port 0 takes a free one")
      ->capture_default_str();
  parser.add_option("--metrics", arguments.options.metrics, "HOST:PORT of /metrics; empty for none")
      ->capture_default_str();
  parser.add_option("--dtype", arguments.dtype, "run type: auto, bf16 or f32")->capture_default_str();
  parser.add_option("--threads", arguments.threads, "threads of the host device; 0 for one per core")
      ->capture_default_str();
  parser.add_option("--waiting-limit", arguments.options.waiting_limit, "prompts that may queue")
      ->capture_default_str();
  parser.add_option("--link-bps", arguments.options.link_bits_per_s, "bits/s of this machine's network; 0 for unknown")
      ->capture_default_str();
  parser.add_option("--drain-seconds", arguments.drain_s, "how long running work may take to end on SIGTERM")
      ->capture_default_str();
  parser.add_option("--log-level", arguments.log_level, "least level of the lines on stderr")
      ->check(CLI::IsMember(decant::LogLevelNames()))
      ->capture_default_str();
  CLI11_PARSE(parser, argc, argv);
  const absl::Status status = decant::Serve(arguments);
  if (status.ok()) return 0;
  std::fprintf(stderr, "decant_prefill: %s\n", std::string(status.message()).c_str());
  return 1;
}
