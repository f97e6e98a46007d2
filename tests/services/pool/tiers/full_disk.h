// A disk without room, for RocksDB: what is there can be read, and nothing can be added.
#ifndef DECANT_TESTS_SERVICES_POOL_TIERS_FULL_DISK_H_
#define DECANT_TESTS_SERVICES_POOL_TIERS_FULL_DISK_H_

#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>

namespace decant {

class FullDisk final : public rocksdb::FileSystemWrapper {
 public:
  FullDisk() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  const char* Name() const override { return "FullDisk"; }

  // Writes fail from now on, or no longer.
  void SetFull(bool full) { full_ = full; }
  int64_t refused() const { return refused_; }

  rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* debug) override {
    std::unique_ptr<rocksdb::FSWritableFile> inner;
    const rocksdb::IOStatus made = target()->NewWritableFile(name, options, &inner, debug);
    if (made.ok()) *file = std::make_unique<File>(std::move(inner), *this);
    return made;
  }

 private:
  class File final : public rocksdb::FSWritableFileOwnerWrapper {
   public:
    File(std::unique_ptr<rocksdb::FSWritableFile> file, FullDisk& disk)
        : FSWritableFileOwnerWrapper(std::move(file)), disk_(disk) {}
    rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* debug) override {
      if (!disk_.full_) return target()->Append(data, options, debug);
      ++disk_.refused_;
      // As the operating system does it: what still fits is written.
      (void)target()->Append(rocksdb::Slice(data.data(), data.size() / 2), options, debug);
      return rocksdb::IOStatus::NoSpace("No space left on device");
    }
    rocksdb::IOStatus Append(const rocksdb::Slice& data, const rocksdb::IOOptions& options,
                             const rocksdb::DataVerificationInfo&, rocksdb::IODebugContext* debug) override {
      return Append(data, options, debug);
    }

   private:
    FullDisk& disk_;
  };

  std::atomic<bool> full_ = false;
  std::atomic<int64_t> refused_ = 0;
};

}  // namespace decant

#endif  // DECANT_TESTS_SERVICES_POOL_TIERS_FULL_DISK_H_
