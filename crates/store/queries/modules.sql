SELECT yang_modules.name, yang_modules.revision, yang_modules.text
FROM platform_modules
JOIN yang_modules ON yang_modules.name = platform_modules.name AND yang_modules.revision = platform_modules.revision
    AND yang_modules.digest = platform_modules.digest
WHERE platform = $1
ORDER BY yang_modules.name, yang_modules.revision
