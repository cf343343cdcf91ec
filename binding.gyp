{
  # The addon, as users and `npm run build` build it. Tests, benchmarks and sanitizers: native/CMakeLists.txt.
  "includes": ["native/sources.gypi"],
  "targets": [
    {
      "target_name": "pollux",
      "sources": ["<@(core_sources)", "<@(binding_sources)"],
      "include_dirs": ["native"],
      "dependencies": ["<!(node -p \"require('node-addon-api').targets\"):node_addon_api_except_all"],
      "defines": ["NAPI_VERSION=9", "NODE_ADDON_API_DISABLE_DEPRECATED"],
      "cflags": [
        "-Wall",
        "-Wextra",
        "-Wno-missing-field-initializers",
        "-fvisibility=hidden",
        # One instruction less for every thread_local; fits, because the addon has only a few bytes of them.
        "-ftls-model=initial-exec"
      ],
      "conditions": [
        # Miniflows count bits all the time. Every x86-64 processor since 2009 has the instruction; addon.cc checks.
        ["target_arch == 'x64'", { "cflags": ["-mpopcnt"] }]
      ],
      "cflags_cc": ["-std=c++20", "-fvisibility-inlines-hidden"],
      "configurations": {
        "Release": {
          "defines": ["NDEBUG"],
          "cflags": ["-O3"]
        }
      },
      # The prebuilt addon asks the host for libc only, and shows it no symbol but the N-API entry points.
      "ldflags": [
        "-static-libstdc++",
        "-static-libgcc",
        "-Wl,--exclude-libs,ALL",
        "-Wl,--version-script=<(module_root_dir)/native/exports.map"
      ]
    }
  ]
}
