SELECT platform, version FROM platform_versions ORDER BY platform
